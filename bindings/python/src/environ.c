/*
 * environ.c - a gw_environ as the dict of PEP 3333.
 *
 * Most variables of a request are those of the one before.  So there is a dict that has all variables of
 * that; what differs is changed in it, and the application gets a copy.  Names are made once.
 */
#include "wsgi.h"

#define SLOTS 512               /* a power of two */
#define NAMES 256               /* of a request; more go the long way */

typedef struct {
    PyObject *name;
    PyObject *value;            /* what it is in the dict; NULL: it is not there */
    uint64_t  seen;             /* the number of the last request that had it */
} variable;

/* What a variable is called where it comes from: a header field in one of its spellings, say. */
typedef struct {
    char     *text;             /* NULL: an empty slot */
    size_t    len;
    variable *of;               /* NULL: a field that has no variable */
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

/* What names are found by: header fields as they are spelled, or variables. */
typedef struct {
    slot  *slots;
    size_t used;
} table;

/* The last request. */
typedef struct {
    PyObject *dict;             /* its environ, without wsgi.input */
    table     fields, vars;
    variable *present[NAMES];   /* those of its fields and vars */
    size_t    count;
    variable  of_members[MEMBERS], length, https;
    int64_t   content_length;
    uint32_t  flags;
    int       is_https;
    uint64_t  requests;
} memory;

static memory *last;

/* An allocation may collect garbage, before CPython 3.12 at once: what that calls may let another thread in,
   which would change the dict while it is copied. */
static PyObject *
copy_of(PyObject *dict)
{
#if PY_VERSION_HEX < 0x030c0000
    int       collects = PyGC_Disable();
    PyObject *copy = PyDict_Copy(dict);

    if (collects) {
        PyGC_Enable();
    }
    return copy;
#else
    return PyDict_Copy(dict);
#endif
}

static PyObject *base;          /* what all requests have; never changed */
static PyObject *name_input, *name_scheme, *name_https, *name_multithread, *name_multiprocess, *name_run_once;
static PyObject *schemes[2];
static PyObject *names[MEMBERS], *name_length;

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

static PyObject *
latin1(gw_str text)
{
    return PyUnicode_DecodeLatin1(text.len > 0 ? text.data : "", (Py_ssize_t) text.len, NULL);
}

/* The name of a header field's variable, or NULL without an exception: it has none. */
static PyObject *
name_of(gw_str field)
{
    char   text[256] = "HTTP_";
    size_t n = 5;

    if (field.len > sizeof text - n || memchr(field.data, '_', field.len) != NULL) {
        return NULL;
    }
    for (size_t i = 0; i < field.len; i++, n++) {
        char c = field.data[i];

        text[n] = c == '-' ? '_' : c >= 'a' && c <= 'z' ? (char) (c - 32) : c;
    }
    if ((n == 17 && memcmp(text, "HTTP_CONTENT_TYPE", n) == 0)
        || (n == 19 && memcmp(text, "HTTP_CONTENT_LENGTH", n) == 0)) {
        return NULL;
    }
    return PyUnicode_DecodeLatin1(text, (Py_ssize_t) n, NULL);
}

static variable *
known(PyObject *name)
{
    const table *tables[] = { &last->fields, &last->vars };

    for (size_t i = 0; i < MEMBERS; i++) {
        if (last->of_members[i].name == name) {
            return &last->of_members[i];
        }
    }
    for (size_t i = 0; i < 2; i++) {
        for (size_t at = 0; tables[i]->slots != NULL && at < SLOTS; at++) {
            variable *of = tables[i]->slots[at].of;

            if (of != NULL && of->name == name) {
                return of;
            }
        }
    }
    return name == last->length.name ? &last->length : name == last->https.name ? &last->https : NULL;
}

/* The variable with this name, which may be known by another; takes the name. */
static variable *
variable_of(PyObject *name)
{
    variable *of;

    PyUnicode_InternInPlace(&name);
    of = known(name);
    if (of != NULL) {
        Py_DECREF(name);
        return of;
    }
    of = PyMem_Calloc(1, sizeof *of);
    if (of == NULL) {
        Py_DECREF(name);
        PyErr_NoMemory();
        return NULL;
    }
    of->name = name;
    return of;
}

/* The slot of this text, which may be new; NULL when there are too many: a client may send any. */
static slot *
find(table *in, gw_str text, PyObject *(*name_of)(gw_str))
{
    size_t    at = hash(text.data, text.len) & (SLOTS - 1);
    slot     *slots = in->slots;
    PyObject *name;
    variable *of = NULL;

    while (slots[at].text != NULL) {
        if (slots[at].len == text.len && memcmp(slots[at].text, text.data, text.len) == 0) {
            return &slots[at];
        }
        at = (at + 1) & (SLOTS - 1);
    }
    if (in->used >= SLOTS / 2) {
        return NULL;
    }
    name = name_of(text);
    if ((name == NULL && PyErr_Occurred()) || (name != NULL && (of = variable_of(name)) == NULL)
        || (slots[at].text = PyMem_Malloc(text.len + 1)) == NULL) {
        return NULL;
    }
    memcpy(slots[at].text, text.data, text.len);
    slots[at].len = text.len;
    slots[at].of = of;
    in->used++;
    return &slots[at];
}

/* Of a str that latin1() has made; where its octets cannot be had as they are it is another. */
static int
is_same(PyObject *value, gw_str text)
{
    const char *octets;
    Py_ssize_t  len;

    if (value == NULL || (size_t) PyUnicode_GET_LENGTH(value) != text.len) {
        return 0;
    }
    octets = wsgi_ascii(value, &len);
    return octets != NULL && (size_t) len == text.len && memcmp(octets, text.data, text.len) == 0;
}

/* The variable is `text`. */
static int
put(variable *v, gw_str text)
{
    PyObject *value;

    if (is_same(v->value, text)) {
        return 0;
    }
    value = latin1(text);
    if (value == NULL) {
        return -1;
    }
    if (PyDict_SetItem(last->dict, v->name, value) < 0) {
        Py_DECREF(value);
        return -1;
    }
    Py_XSETREF(v->value, value);
    return 0;
}

/* There is no such variable, but what all requests have. */
static int
take_away(variable *v)
{
    PyObject *preset;

    if (v->value == NULL) {
        return 0;
    }
    Py_CLEAR(v->value);
    preset = PyDict_GetItemWithError(base, v->name);
    return preset != NULL ? PyDict_SetItem(last->dict, v->name, preset) : PyDict_DelItem(last->dict, v->name);
}

static int
set(PyObject *name, int is_so)
{
    return PyDict_SetItem(last->dict, name, is_so ? Py_True : Py_False);
}

/* What does not come from the client. */
static int
circumstances(const gw_environ *env)
{
    uint32_t flags = env->flags & (GW_ENV_MULTITHREAD | GW_ENV_MULTIPROCESS | GW_ENV_RUN_ONCE);
    int      is_https = env->url_scheme.len == 5;

    if (flags == last->flags && is_https == last->is_https) {
        return 0;
    }
    last->flags = flags;
    last->is_https = is_https;
    return PyDict_SetItem(last->dict, name_scheme, schemes[is_https]) < 0
                   || set(name_multithread, (flags & GW_ENV_MULTITHREAD) != 0) < 0
                   || set(name_multiprocess, (flags & GW_ENV_MULTIPROCESS) != 0) < 0
                   || set(name_run_once, (flags & GW_ENV_RUN_ONCE) != 0) < 0
               ? -1
               : 0;
}

/* Header fields and variables of this request.  1: not in this way: there are too many, or a field came twice,
   which the library joins. */
static int
received(const gw_environ *env)
{
    variable *present[NAMES];
    size_t    n = 0;

    if (env->header_count + env->var_count > NAMES) {
        return 1;
    }
    for (size_t i = 0; i < env->header_count; i++) {
        slot     *s = find(&last->fields, env->headers[i].name, name_of);
        variable *v = s != NULL ? s->of : NULL;

        if (s == NULL || (v != NULL && v->seen == last->requests)) {
            PyErr_Clear();
            return 1;
        }
        if (v != NULL) {
            v->seen = last->requests;
            present[n++] = v;
            if (put(v, env->headers[i].value) < 0) {
                return -1;
            }
        }
    }
    for (size_t i = 0; i < env->var_count; i++) {
        slot *s = find(&last->vars, env->vars[i].name, latin1);

        if (s == NULL) {
            PyErr_Clear();
            return 1;
        }
        if (s->of->seen != last->requests) {
            s->of->seen = last->requests;
            present[n++] = s->of;
        }
        /* The last one counts; without a value it says that there is none. */
        if ((env->vars[i].value.data != NULL ? put(s->of, env->vars[i].value) : take_away(s->of)) < 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < last->count; i++) {
        if (last->present[i]->seen != last->requests && take_away(last->present[i]) < 0) {
            return -1;
        }
    }
    memcpy(last->present, present, n * sizeof *present);
    last->count = n;
    return 0;
}

/* Unless a variable of the request's says it already. */
static int
member(variable *v, gw_str text)
{
    return v->seen == last->requests ? 0 : text.data != NULL ? put(v, text) : take_away(v);
}

static int
members_of(const gw_environ *env)
{
    for (size_t i = 0; i < MEMBERS; i++) {
        if (member(&last->of_members[i], *(const gw_str *) ((const char *) env + members[i].at)) < 0) {
            return -1;
        }
    }
    if (env->content_length != last->content_length || last->length.seen != 0) {
        char digits[24];
        int  len = snprintf(digits, sizeof digits, "%lld", (long long) env->content_length);

        last->content_length = env->content_length;
        if (member(&last->length, (gw_str) { env->content_length < 0 ? NULL : digits, (size_t) len }) < 0) {
            return -1;
        }
    }
    return member(&last->https, last->is_https ? GW_STR("on") : (gw_str) { NULL, 0 });
}

/* Where nothing is known of the request before. */
static int
begin(void)
{
    if (last == NULL) {
        last = PyMem_Calloc(1, sizeof *last);
        if (last == NULL || (last->fields.slots = PyMem_Calloc(SLOTS, sizeof(slot))) == NULL
            || (last->vars.slots = PyMem_Calloc(SLOTS, sizeof(slot))) == NULL) {
            if (last != NULL) {
                PyMem_Free(last->fields.slots);
                PyMem_Free(last);
                last = NULL;
            }
            PyErr_NoMemory();
            return -1;
        }
        for (size_t i = 0; i < MEMBERS; i++) {
            last->of_members[i].name = names[i];
        }
        last->length.name = name_length;
        last->https.name = name_https;
    }
    last->content_length = -1;
    last->is_https = -1;                                /* unlike any */
    last->dict = copy_of(base);
    return last->dict != NULL ? 0 : -1;
}

/* Nobody knows what is in the dict: the next request begins anew. */
static void
forget(void)
{
    PyObject *type, *value, *trace;
    table    *tables[] = { &last->fields, &last->vars };

    PyErr_Fetch(&type, &value, &trace);
    Py_CLEAR(last->dict);
    for (size_t i = 0; i < 2 * SLOTS; i++) {
        variable *of = tables[i / SLOTS]->slots[i % SLOTS].of;

        if (of != NULL) {
            Py_CLEAR(of->value);
        }
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        Py_CLEAR(last->of_members[i].value);
    }
    Py_CLEAR(last->length.value);
    Py_CLEAR(last->https.value);
    last->count = 0;
    PyErr_Restore(type, value, trace);
}

/* All variables, by the library. */
static PyObject *
long_way(gw_environ *env)
{
    PyObject      *dict;
    const gw_pair *vars;
    size_t         count;

    if (gw_environ_vars(env, &vars, &count) < 0) {
        return PyErr_NoMemory();
    }
    forget();
    if (begin() < 0 || circumstances(env) < 0) {
        return NULL;
    }
    dict = last->dict;
    last->dict = NULL;
    for (size_t i = 0; dict != NULL && i < count; i++) {
        PyObject *name = latin1(vars[i].name), *value = latin1(vars[i].value);
        int       rc = name != NULL && value != NULL ? PyDict_SetItem(dict, name, value) : -1;

        Py_XDECREF(name);
        Py_XDECREF(value);
        if (rc < 0) {
            Py_CLEAR(dict);
        }
    }
    return dict;
}

PyObject *
wsgi_environ(gw_environ *env, PyObject *input)
{
    PyObject *dict = NULL;
    int       how;

    if ((last == NULL || last->dict == NULL) && begin() < 0) {
        return NULL;
    }
    last->requests++;
    how = circumstances(env) < 0 ? -1 : received(env);
    if (how == 0 && members_of(env) == 0) {
        dict = copy_of(last->dict);
    } else if (how == 1) {
        dict = long_way(env);
    } else {
        forget();
    }
    if (dict != NULL && PyDict_SetItem(dict, name_input, input) < 0) {
        Py_CLEAR(dict);
    }
    return dict;
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
    base = PyDict_New();
    name_input = PyUnicode_InternFromString("wsgi.input");
    name_scheme = PyUnicode_InternFromString("wsgi.url_scheme");
    name_multithread = PyUnicode_InternFromString("wsgi.multithread");
    name_multiprocess = PyUnicode_InternFromString("wsgi.multiprocess");
    name_length = PyUnicode_InternFromString("CONTENT_LENGTH");
    name_https = PyUnicode_InternFromString("HTTPS");
    name_run_once = PyUnicode_InternFromString("wsgi.run_once");
    for (size_t i = 0; i < MEMBERS; i++) {
        names[i] = PyUnicode_InternFromString(members[i].name);
    }
    schemes[0] = PyUnicode_InternFromString("http");
    schemes[1] = PyUnicode_InternFromString("https");
    if (base == NULL || schemes[1] == NULL) {
        return -1;
    }
    /* What is there already need not make a copy grow. */
    if (add("wsgi.input", Py_NewRef(Py_None)) < 0
        || add("wsgi.version", Py_BuildValue("(ii)", 1, 0)) < 0
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
    return 0;
}
