/*
 * environ.c - a gw_environ as the dict of PEP 3333.
 *
 * Names repeat from request to request, and so do most values: both are looked up in a table before
 * they are made.  What never changes is in a dict that is copied.
 */
#include "wsgi.h"

#define SLOTS 512               /* a power of two */
#define KEEP 256                /* octets of a value that is remembered */

typedef struct {
    PyObject *name;             /* NULL: an empty slot */
    char     *text;
    size_t    len;
    PyObject *value;            /* the last one, or NULL */
    char      octets[KEEP];     /* which were these */
    size_t    value_len;
} slot;

static slot     *slots;
static size_t    used;
static PyObject *base, *name_input, *name_scheme, *name_multithread, *name_multiprocess;
static PyObject *schemes[2];

static size_t
hash(const char *text, size_t len)
{
    size_t h = 14695981039346656037u;

    for (size_t i = 0; i < len; i++) {
        h = (h ^ (unsigned char) text[i]) * 1099511628211u;
    }
    return h ^ h >> 32;
}

/* The slot of this name, which may be new; NULL when there are too many: a client may send any. */
static slot *
find(const char *text, size_t len)
{
    size_t at = hash(text, len) & (SLOTS - 1);

    while (slots[at].name != NULL) {
        if (slots[at].len == len && memcmp(slots[at].text, text, len) == 0) {
            return &slots[at];
        }
        at = (at + 1) & (SLOTS - 1);
    }
    if (used >= SLOTS / 2 || (slots[at].text = PyMem_Malloc(len + 1)) == NULL) {
        return NULL;
    }
    memcpy(slots[at].text, text, len);
    slots[at].len = len;
    slots[at].name = PyUnicode_DecodeLatin1(text, (Py_ssize_t) len, NULL);
    if (slots[at].name == NULL) {
        PyMem_Free(slots[at].text);
        return NULL;
    }
    PyUnicode_InternInPlace(&slots[at].name);
    used++;
    return &slots[at];
}

static PyObject *
latin1(gw_str text)
{
    return PyUnicode_DecodeLatin1(text.len > 0 ? text.data : "", (Py_ssize_t) text.len, NULL);
}

static int
set(PyObject *dict, const gw_pair *pair)
{
    slot     *s = find(pair->name.data, pair->name.len);
    PyObject *value, *name;
    int       rc;

    if (s == NULL) {
        PyErr_Clear();
        name = latin1(pair->name);
        value = latin1(pair->value);
        rc = name != NULL && value != NULL ? PyDict_SetItem(dict, name, value) : -1;
        Py_XDECREF(name);
        Py_XDECREF(value);
        return rc;
    }
    if (s->value != NULL && s->value_len == pair->value.len
        && memcmp(s->octets, pair->value.data, pair->value.len) == 0) {
        return PyDict_SetItem(dict, s->name, s->value);
    }
    value = latin1(pair->value);
    if (value == NULL) {
        return -1;
    }
    rc = PyDict_SetItem(dict, s->name, value);
    if (pair->value.len <= KEEP) {
        Py_XDECREF(s->value);
        s->value = value;
        s->value_len = pair->value.len;
        if (pair->value.len > 0) {
            memcpy(s->octets, pair->value.data, pair->value.len);
        }
    } else {
        Py_DECREF(value);
    }
    return rc;
}

PyObject *
wsgi_environ(gw_environ *env, PyObject *input)
{
    const gw_pair *vars;
    size_t         count;
    PyObject      *dict = PyDict_Copy(base);

    if (dict == NULL) {
        return NULL;
    }
    if (gw_environ_vars(env, &vars, &count) < 0) {
        PyErr_NoMemory();
        goto failed;
    }
    for (size_t i = 0; i < count; i++) {
        if (set(dict, &vars[i]) < 0) {
            goto failed;
        }
    }
    if (PyDict_SetItem(dict, name_input, input) < 0
        || (env->url_scheme.len == 5 && PyDict_SetItem(dict, name_scheme, schemes[1]) < 0)
        || (!(env->flags & GW_ENV_MULTITHREAD)
            && PyDict_SetItem(dict, name_multithread, Py_False) < 0)
        || (env->flags & GW_ENV_MULTIPROCESS
            && PyDict_SetItem(dict, name_multiprocess, Py_True) < 0)) {
        goto failed;
    }
    return dict;

failed:
    Py_DECREF(dict);
    return NULL;
}

static int
add(const char *name, PyObject *value)
{
    PyObject *key = PyUnicode_InternFromString(name);
    int       rc = key != NULL && value != NULL ? PyDict_SetItem(base, key, value) : -1;

    Py_XDECREF(key);
    Py_XDECREF(value);
    return rc;
}

int
wsgi_environ_init(void)
{
    char software[64];

    snprintf(software, sizeof software, "libgateway/%s", gw_version());
    slots = PyMem_Calloc(SLOTS, sizeof *slots);
    base = PyDict_New();
    name_input = PyUnicode_InternFromString("wsgi.input");
    name_scheme = PyUnicode_InternFromString("wsgi.url_scheme");
    name_multithread = PyUnicode_InternFromString("wsgi.multithread");
    name_multiprocess = PyUnicode_InternFromString("wsgi.multiprocess");
    schemes[0] = PyUnicode_InternFromString("http");
    schemes[1] = PyUnicode_InternFromString("https");
    if (slots == NULL || base == NULL || schemes[1] == NULL) {
        return -1;
    }
    if (add("wsgi.version", Py_BuildValue("(ii)", 1, 0)) < 0
        || add("wsgi.url_scheme", Py_NewRef(schemes[0])) < 0
        || add("wsgi.errors", Py_XNewRef(wsgi_errors())) < 0
        || add("wsgi.multithread", Py_NewRef(Py_True)) < 0
        || add("wsgi.multiprocess", Py_NewRef(Py_False)) < 0
        || add("wsgi.run_once", Py_NewRef(Py_False)) < 0
        || add("wsgi.input_terminated", Py_NewRef(Py_True)) < 0
        || add("wsgi.file_wrapper", Py_XNewRef(wsgi_file_wrapper())) < 0
        || add("SERVER_SOFTWARE", PyUnicode_FromString(software)) < 0) {
        return -1;
    }
    return 0;
}
