/*
 * environ.c - a gw_environ as the dict of PEP 3333.
 *
 * Most variables of a request are those of the one before.  So there is a dict that has all variables of
 * that; what differs is changed in it, and the application gets a copy.  Names are made once.
 */
#include "wsgi.h"

#define SLOTS 512               /* a power of two */
#define FIELDS 256              /* of a request; more go the long way */

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

/* The last request, as a dict: by header fields, as they are spelled, or by all variables, where there are
   more than members and fields. */
typedef struct {
    PyObject *dict;             /* without wsgi.input */
    slot     *slots;
    size_t    used;
    variable *present[FIELDS];  /* those that are in the dict */
    size_t    count;
    uint64_t  requests;
    uint32_t  flags;            /* of the last request */
    int       is_https;
} before;

/* Of the interpreter; where threads have no lock in common, of a thread. */
typedef struct {
    before   by_fields, by_vars;
    variable of_members[MEMBERS], length;
    int64_t  last_length;
} memory;

#ifdef Py_GIL_DISABLED
static _Thread_local memory *mine;
#else
static memory *mine;
#endif

static PyObject *base;          /* what all requests have; never changed */
static PyObject *name_input, *name_scheme, *name_https, *name_multithread, *name_multiprocess, *name_run_once;
static PyObject *schemes[2], *on;
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
name_of(const char *field, size_t len)
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

/* The variable with this name, which another spelling may have; takes the name. */
static variable *
variable_of(before *last, PyObject *name)
{
    variable *made;

    PyUnicode_InternInPlace(&name);
    for (size_t i = 0; i < SLOTS; i++) {
        if (last->slots[i].text != NULL && last->slots[i].of != NULL && last->slots[i].of->name == name) {
            Py_DECREF(name);
            return last->slots[i].of;
        }
    }
    made = PyMem_Calloc(1, sizeof *made);
    if (made == NULL) {
        Py_DECREF(name);
        PyErr_NoMemory();
        return NULL;
    }
    made->name = name;
    return made;
}

/* The slot of this text, which may be new; NULL when there are too many: a client may send any. */
static slot *
find(before *last, gw_str text, int is_field)
{
    size_t    at = hash(text.data, text.len) & (SLOTS - 1);
    slot     *slots = last->slots;
    PyObject *name;
    variable *of = NULL;

    while (slots[at].text != NULL) {
        if (slots[at].len == text.len && memcmp(slots[at].text, text.data, text.len) == 0) {
            return &slots[at];
        }
        at = (at + 1) & (SLOTS - 1);
    }
    if (last->used >= SLOTS / 2) {
        return NULL;
    }
    name = is_field ? name_of(text.data, text.len) : latin1(text);
    if ((name == NULL && PyErr_Occurred()) || (name != NULL && (of = variable_of(last, name)) == NULL)
        || (slots[at].text = PyMem_Malloc(text.len + 1)) == NULL) {
        return NULL;
    }
    memcpy(slots[at].text, text.data, text.len);
    slots[at].len = text.len;
    slots[at].of = of;
    last->used++;
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

/* The variable is `text` in the dict. */
static int
put(PyObject *dict, variable *v, gw_str text)
{
    PyObject *value;

    if (is_same(v->value, text)) {
        return 0;
    }
    value = latin1(text);
    if (value == NULL) {
        return -1;
    }
    if (PyDict_SetItem(dict, v->name, value) < 0) {
        Py_DECREF(value);
        return -1;
    }
    Py_XSETREF(v->value, value);
    return 0;
}

static int
take_away(PyObject *dict, variable *v)
{
    if (v->value == NULL) {
        return 0;
    }
    Py_CLEAR(v->value);
    return PyDict_DelItem(dict, v->name);
}

/* What this request had is what the next one begins with; the rest goes. */
static int
keep(before *last, variable **present, size_t count)
{
    for (size_t i = 0; i < last->count; i++) {
        if (last->present[i]->seen != last->requests && take_away(last->dict, last->present[i]) < 0) {
            return -1;
        }
    }
    memcpy(last->present, present, count * sizeof *present);
    last->count = count;
    return 0;
}

/* After an error nobody knows what is in the dict: the next request begins anew. */
static void
forget(before *last)
{
    PyObject *type, *value, *trace;

    PyErr_Fetch(&type, &value, &trace);
    Py_CLEAR(last->dict);
    for (size_t i = 0; last->slots != NULL && i < SLOTS; i++) {
        if (last->slots[i].of != NULL) {
            Py_CLEAR(last->slots[i].of->value);
        }
    }
    last->count = 0;
    if (last == &mine->by_fields) {
        for (size_t i = 0; i < MEMBERS; i++) {
            Py_CLEAR(mine->of_members[i].value);
        }
        Py_CLEAR(mine->length.value);
        mine->last_length = -1;
    }
    PyErr_Restore(type, value, trace);
}

static int
set(PyObject *dict, PyObject *name, int is_so)
{
    return PyDict_SetItem(dict, name, is_so ? Py_True : Py_False);
}

/* What does not come from the client. */
static int
circumstances(before *last, const gw_environ *env)
{
    uint32_t flags = env->flags & (GW_ENV_MULTITHREAD | GW_ENV_MULTIPROCESS | GW_ENV_RUN_ONCE);
    int      is_https = env->url_scheme.len == 5;

    if (flags == last->flags && is_https == last->is_https) {
        return 0;
    }
    if (last == &mine->by_fields) {
        if (is_https ? PyDict_SetItem(last->dict, name_https, on)
                     : PyDict_Contains(last->dict, name_https) && PyDict_DelItem(last->dict, name_https)) {
            return -1;
        }
    }
    last->flags = flags;
    last->is_https = is_https;
    return PyDict_SetItem(last->dict, name_scheme, schemes[is_https]) < 0
                   || set(last->dict, name_multithread, (flags & GW_ENV_MULTITHREAD) != 0) < 0
                   || set(last->dict, name_multiprocess, (flags & GW_ENV_MULTIPROCESS) != 0) < 0
                   || set(last->dict, name_run_once, (flags & GW_ENV_RUN_ONCE) != 0) < 0
               ? -1
               : 0;
}

static int
begin(before *last, const gw_environ *env)
{
    last->requests++;
    if (last->slots == NULL && (last->slots = PyMem_Calloc(SLOTS, sizeof(slot))) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (last->dict == NULL) {
        last->dict = PyDict_Copy(base);
        last->is_https = -1;                            /* unlike any */
    }
    return last->dict != NULL ? circumstances(last, env) : -1;
}

static PyObject *
ended(before *last, PyObject *input)
{
    PyObject *dict = PyDict_Copy(last->dict);

    if (dict != NULL && PyDict_SetItem(dict, name_input, input) < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

/* All variables, by the library, in a dict that nobody keeps: there are too many names. */
static PyObject *
long_way(const gw_pair *vars, size_t count, PyObject *input)
{
    PyObject *dict = ended(&mine->by_vars, input);

    /* Those of the request before are gone already. */
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

/* By all variables. */
static PyObject *
by_vars(gw_environ *env, PyObject *input)
{
    before        *last = &mine->by_vars;
    variable      *present[FIELDS];
    const gw_pair *vars;
    size_t         count, n = 0;

    if (gw_environ_vars(env, &vars, &count) < 0) {
        PyErr_NoMemory();
        return NULL;
    }
    if (begin(last, env) < 0) {
        goto failed;
    }
    for (; n < count && n < FIELDS; n++) {
        slot *s = find(last, vars[n].name, 0);

        if (s == NULL) {
            PyErr_Clear();
            break;
        }
        present[n] = s->of;
        s->of->seen = last->requests;
        if (put(last->dict, s->of, vars[n].value) < 0) {
            goto failed;
        }
    }
    if (keep(last, present, n) < 0) {
        goto failed;
    }
    return n == count ? ended(last, input) : long_way(vars + n, count - n, input);

failed:
    forget(last);
    return NULL;
}

/* By members and header fields: without looking each up by its name in the library. */
static PyObject *
by_fields(gw_environ *env, PyObject *input)
{
    before   *last = &mine->by_fields;
    variable *present[FIELDS];
    size_t    n = 0;

    if (env->header_count > FIELDS) {
        return by_vars(env, input);
    }
    if (begin(last, env) < 0) {
        goto failed;
    }
    for (size_t i = 0; i < env->header_count; i++) {
        slot *s = find(last, env->headers[i].name, 1);

        if (s == NULL || (s->of != NULL && s->of->seen == last->requests)) {
            PyErr_Clear();
            forget(last);
            return by_vars(env, input);                 /* a field twice, or too many names */
        }
        if (s->of != NULL) {
            present[n++] = s->of;
            s->of->seen = last->requests;
            if (put(last->dict, s->of, env->headers[i].value) < 0) {
                goto failed;
            }
        }
    }
    if (keep(last, present, n) < 0) {
        goto failed;
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        gw_str text = *(gw_str *) ((char *) env + members[i].at);

        if ((text.data != NULL ? put(last->dict, &mine->of_members[i], text)
                               : take_away(last->dict, &mine->of_members[i])) < 0) {
            goto failed;
        }
    }
    if (env->content_length != mine->last_length) {
        char digits[24];
        int  len = snprintf(digits, sizeof digits, "%lld", (long long) env->content_length);

        if ((env->content_length >= 0 ? put(last->dict, &mine->length, (gw_str) { digits, (size_t) len })
                                      : take_away(last->dict, &mine->length)) < 0) {
            goto failed;
        }
        mine->last_length = env->content_length;
    }
    return ended(last, input);

failed:
    forget(last);
    return NULL;
}

PyObject *
wsgi_environ(gw_environ *env, PyObject *input)
{
    if (mine == NULL) {
        mine = PyMem_Calloc(1, sizeof *mine);
        if (mine == NULL) {
            return PyErr_NoMemory();
        }
        for (size_t i = 0; i < MEMBERS; i++) {
            mine->of_members[i].name = names[i];
        }
        mine->length.name = name_length;
        mine->last_length = -1;
    }
    return (env->var_count > 0 ? by_vars : by_fields)(env, input);
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
    on = PyUnicode_InternFromString("on");
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
