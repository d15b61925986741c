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
    PyObject *name;             /* NULL: an empty slot, or one without a variable */
    uint64_t  seen;             /* the number of the last request that had it */
    char     *text;
    size_t    len;
    PyObject *value;            /* the last one, or NULL */
    char      octets[KEEP];     /* which were these */
    size_t    value_len;
} slot;

/* What is always there, or often, beside its name. */
static const struct {
    const char *name;
    size_t      at;
} members[] = {
    { "REQUEST_METHOD", offsetof(gw_environ, request_method) },
    { "SCRIPT_NAME", offsetof(gw_environ, script_name) },
    { "PATH_INFO", offsetof(gw_environ, path_info) },
    { "QUERY_STRING", offsetof(gw_environ, query_string) },
    { "REQUEST_URI", offsetof(gw_environ, request_uri) },
    { "CONTENT_TYPE", offsetof(gw_environ, content_type) },
    { "SERVER_NAME", offsetof(gw_environ, server_name) },
    { "SERVER_PORT", offsetof(gw_environ, server_port) },
    { "SERVER_PROTOCOL", offsetof(gw_environ, server_protocol) },
    { "REMOTE_ADDR", offsetof(gw_environ, remote_addr) },
    { "REMOTE_PORT", offsetof(gw_environ, remote_port) },
};

#define MEMBERS (sizeof members / sizeof *members)

/* By variables, and by header fields as they are spelled. */
static struct {
    slot  *slots;
    size_t used;
} tables[2];

static slot      of_members[MEMBERS];
static uint64_t  requests;
static PyObject *empty, *name_length, *name_https, *on;
static PyObject *base, *name_input, *name_scheme, *name_multithread, *name_multiprocess;
static PyObject *schemes[2];

static size_t
hash(const char *text, size_t len)
{
    uint64_t first = 0, last = 0;

    /* Names of one length differ at their ends; what collides is found all the same. */
    if (len >= 8) {
        memcpy(&first, text, 8);
        memcpy(&last, text + len - 8, 8);
    } else {
        memcpy(&first, text, len);
    }
    first = (first ^ last << 7 ^ len) * 0x9e3779b97f4a7c15u;
    return (size_t) (first >> 32);
}

/* The variable of a header field, or NULL without an exception: it has none. */
static PyObject *
variable(const char *field, size_t len)
{
    char   text[256] = "HTTP_";
    size_t n = 5;

    if (len > sizeof text - n || memchr(field, '_', len) != NULL) {
        return NULL;
    }
    for (size_t i = 0; i < len; i++, n++) {
        char c = field[i];

        text[n] = c == '-' ? '_' : c >= 'a' && c <= 'z' ? (char) (c - 32) : c;
    }
    if ((n == 17 && memcmp(text, "HTTP_CONTENT_TYPE", n) == 0)
        || (n == 19 && memcmp(text, "HTTP_CONTENT_LENGTH", n) == 0)) {
        return NULL;
    }
    return PyUnicode_DecodeLatin1(text, (Py_ssize_t) n, NULL);
}

/* The slot of this name, which may be new; NULL when there are too many: a client may send any. */
static slot *
find(const char *text, size_t len, int is_field)
{
    size_t at = hash(text, len) & (SLOTS - 1), used = tables[is_field].used;
    slot  *slots = tables[is_field].slots;

    while (slots[at].text != NULL) {
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
    slots[at].name = is_field ? variable(text, len) : PyUnicode_DecodeLatin1(text, (Py_ssize_t) len, NULL);
    if (slots[at].name == NULL && PyErr_Occurred()) {
        PyMem_Free(slots[at].text);
        slots[at].text = NULL;
        return NULL;
    }
    if (slots[at].name != NULL) {
        PyUnicode_InternInPlace(&slots[at].name);
    }
    tables[is_field].used++;
    return &slots[at];
}

static PyObject *
latin1(gw_str text)
{
    return PyUnicode_DecodeLatin1(text.len > 0 ? text.data : "", (Py_ssize_t) text.len, NULL);
}

static int
put(PyObject *dict, slot *s, gw_str text)
{
    PyObject *value;
    int       rc;

    if (s->value != NULL && s->value_len == text.len && memcmp(s->octets, text.data, text.len) == 0) {
        return PyDict_SetItem(dict, s->name, s->value);
    }
    value = latin1(text);
    if (value == NULL) {
        return -1;
    }
    rc = PyDict_SetItem(dict, s->name, value);
    if (text.len <= KEEP) {
        Py_XDECREF(s->value);
        s->value = value;
        s->value_len = text.len;
        if (text.len > 0) {
            memcpy(s->octets, text.data, text.len);
        }
    } else {
        Py_DECREF(value);
    }
    return rc;
}

static int
set(PyObject *dict, const gw_pair *pair)
{
    slot     *s = find(pair->name.data, pair->name.len, 0);
    PyObject *value, *name;
    int       rc;

    if (s != NULL) {
        return put(dict, s, pair->value);
    }
    PyErr_Clear();
    name = latin1(pair->name);
    value = latin1(pair->value);
    rc = name != NULL && value != NULL ? PyDict_SetItem(dict, name, value) : -1;
    Py_XDECREF(name);
    Py_XDECREF(value);
    return rc;
}

/* All variables, by the library: where there are more than members and single fields. */
static int
all(PyObject *dict, gw_environ *env)
{
    const gw_pair *vars;
    size_t         count;

    if (gw_environ_vars(env, &vars, &count) < 0) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        if (set(dict, &vars[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

/* The same without looking each up by its name. */
static int
usual(PyObject *dict, gw_environ *env)
{
    requests++;
    for (size_t i = 0; i < MEMBERS; i++) {
        gw_str text = *(gw_str *) ((char *) env + members[i].at);

        if (text.data != NULL && put(dict, &of_members[i], text) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < env->header_count; i++) {
        slot *s = find(env->headers[i].name.data, env->headers[i].name.len, 1);

        if (s == NULL || s->seen == requests) {
            PyErr_Clear();
            return all(dict, env);                      /* a field twice, or too many names */
        }
        s->seen = requests;
        if (s->name != NULL && put(dict, s, env->headers[i].value) < 0) {
            return -1;
        }
    }
    if (env->content_length >= 0) {
        PyObject *text = PyUnicode_FromFormat("%lld", (long long) env->content_length);
        int       rc = text != NULL ? PyDict_SetItem(dict, name_length, text) : -1;

        Py_XDECREF(text);
        if (rc < 0) {
            return -1;
        }
    }
    return env->url_scheme.len == 5 ? PyDict_SetItem(dict, name_https, on) : 0;
}

PyObject *
wsgi_environ(gw_environ *env, PyObject *input)
{
    PyObject *dict = PyDict_Copy(base);

    if (dict == NULL) {
        return NULL;
    }
    if ((env->var_count > 0 ? all : usual)(dict, env) < 0) {
        goto failed;
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
    tables[0].slots = PyMem_Calloc(SLOTS, sizeof(slot));
    tables[1].slots = PyMem_Calloc(SLOTS, sizeof(slot));
    base = PyDict_New();
    name_input = PyUnicode_InternFromString("wsgi.input");
    name_scheme = PyUnicode_InternFromString("wsgi.url_scheme");
    name_multithread = PyUnicode_InternFromString("wsgi.multithread");
    name_multiprocess = PyUnicode_InternFromString("wsgi.multiprocess");
    name_length = PyUnicode_InternFromString("CONTENT_LENGTH");
    name_https = PyUnicode_InternFromString("HTTPS");
    on = PyUnicode_InternFromString("on");
    empty = PyUnicode_InternFromString("");
    for (size_t i = 0; i < MEMBERS; i++) {
        of_members[i].name = PyUnicode_InternFromString(members[i].name);
    }
    schemes[0] = PyUnicode_InternFromString("http");
    schemes[1] = PyUnicode_InternFromString("https");
    if (tables[0].slots == NULL || tables[1].slots == NULL || base == NULL || schemes[1] == NULL) {
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
        || add("wsgi.early_hints", Py_XNewRef(wsgi_early_hints())) < 0
        || add("gateway.version", PyUnicode_FromString(gw_version())) < 0
        || add("GATEWAY_INTERFACE", PyUnicode_InternFromString("CGI/1.1")) < 0
        || add("SERVER_SOFTWARE", PyUnicode_FromString(software)) < 0) {
        return -1;
    }
    /* What every request has is there already: a copy that need not grow. */
    for (size_t i = 0; i < MEMBERS; i++) {
        if (members[i].at != offsetof(gw_environ, content_type)
            && PyDict_SetItem(base, of_members[i].name, empty) < 0) {
            return -1;
        }
    }
    return 0;
}
