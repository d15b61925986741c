/*
 * scope.c - a gw_environ as ASGI's scope, of type http.
 */
#include "wsgi.h"

static PyObject *key_type, *key_asgi, *key_version, *key_method, *key_scheme, *key_path, *key_raw, *key_query,
    *key_root, *key_headers, *key_client, *key_server, *type_http, *asgi_versions;

static PyObject *
octets(gw_str text)
{
    return PyBytes_FromStringAndSize(text.len > 0 ? text.data : "", (Py_ssize_t) text.len);
}

static PyObject *
utf8(gw_str a, gw_str b)
{
    PyObject *left, *right, *both;

    if (a.len == 0) {
        return PyUnicode_DecodeUTF8(b.len > 0 ? b.data : "", (Py_ssize_t) b.len, "replace");
    }
    left = PyUnicode_DecodeUTF8(a.data, (Py_ssize_t) a.len, "replace");
    right = PyUnicode_DecodeUTF8(b.len > 0 ? b.data : "", (Py_ssize_t) b.len, "replace");
    both = left != NULL && right != NULL ? PyUnicode_Concat(left, right) : NULL;
    Py_XDECREF(left);
    Py_XDECREF(right);
    return both;
}

/* The path of a target, without its query; of a whole URI, what is behind the authority. */
static gw_str
path_of(gw_str uri)
{
    const char *mark = uri.len > 0 ? memchr(uri.data, '?', uri.len) : NULL;
    const char *at;

    if (mark != NULL) {
        uri.len = (size_t) (mark - uri.data);
    }
    if (uri.len > 0 && uri.data[0] != '/' && (at = memmem(uri.data, uri.len, "://", 3)) != NULL) {
        const char *end = uri.data + uri.len;
        const char *slash = memchr(at + 3, '/', (size_t) (end - at - 3));

        uri = slash != NULL ? (gw_str) { slash, (size_t) (end - slash) } : GW_STR("/");
    }
    return uri;
}

static PyObject *
headers_of(const gw_environ *env)
{
    PyObject *list = PyList_New((Py_ssize_t) env->header_count);

    for (size_t i = 0; list != NULL && i < env->header_count; i++) {
        PyObject *name = octets(env->headers[i].name), *value = octets(env->headers[i].value), *pair = NULL;

        if (name != NULL && value != NULL) {
            char *text = PyBytes_AS_STRING(name);

            if (env->headers[i].name.len == 1) {        /* those are shared: a copy of our own */
                char c = text[0];

                Py_DECREF(name);
                c = c >= 'A' && c <= 'Z' ? (char) (c + 32) : c;
                name = PyBytes_FromStringAndSize(&c, 1);
            } else {
                for (size_t n = 0; n < env->headers[i].name.len; n++) {
                    text[n] = text[n] >= 'A' && text[n] <= 'Z' ? (char) (text[n] + 32) : text[n];
                }
            }
            pair = name != NULL ? PyTuple_Pack(2, name, value) : NULL;
        }
        Py_XDECREF(name);
        Py_XDECREF(value);
        if (pair == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t) i, pair);
        }
    }
    return list;
}

static PyObject *
address(gw_str host, gw_str port)
{
    PyObject *number, *pair;
    char      text[8];

    if (port.len == 0 || port.len >= sizeof text || host.len == 0) {
        return Py_NewRef(Py_None);
    }
    memcpy(text, port.data, port.len);
    text[port.len] = '\0';
    number = PyLong_FromString(text, NULL, 10);
    pair = number != NULL ? Py_BuildValue("(s#N)", host.data, (Py_ssize_t) host.len, number) : NULL;
    return pair;
}

/* Takes the value. */
static int
add(PyObject *dict, PyObject *key, PyObject *value)
{
    int rc = value != NULL ? PyDict_SetItem(dict, key, value) : -1;

    Py_XDECREF(value);
    return rc;
}

PyObject *
wsgi_scope(const gw_environ *env)
{
    PyObject *dict = PyDict_New();
    gw_str    version = env->server_protocol;

    if (dict == NULL) {
        return NULL;
    }
    if (version.len > 5 && memcmp(version.data, "HTTP/", 5) == 0) {
        version = (gw_str) { version.data + 5, version.len - 5 };
    }
    if (add(dict, key_type, Py_NewRef(type_http)) < 0
        || add(dict, key_asgi, PyDict_Copy(asgi_versions)) < 0
        || add(dict, key_version, PyUnicode_DecodeLatin1(version.data, (Py_ssize_t) version.len, NULL)) < 0
        || add(dict, key_server, address(env->server_name, env->server_port)) < 0
        || add(dict, key_client, address(env->remote_addr, env->remote_port)) < 0
        || add(dict, key_scheme, utf8((gw_str) { NULL, 0 }, env->url_scheme)) < 0
        || add(dict, key_method, utf8((gw_str) { NULL, 0 }, env->request_method)) < 0
        || add(dict, key_root, utf8((gw_str) { NULL, 0 }, env->script_name)) < 0
        || add(dict, key_path, utf8(env->script_name, env->path_info)) < 0
        || add(dict, key_raw, octets(path_of(env->request_uri))) < 0
        || add(dict, key_query, octets(env->query_string)) < 0
        || add(dict, key_headers, headers_of(env)) < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

int
wsgi_scope_init(void)
{
    static const struct {
        PyObject  **key;
        const char *text;
    } keys[] = {
        { &key_type, "type" },       { &key_asgi, "asgi" },     { &key_version, "http_version" },
        { &key_method, "method" },   { &key_scheme, "scheme" }, { &key_path, "path" },
        { &key_raw, "raw_path" },    { &key_query, "query_string" }, { &key_root, "root_path" },
        { &key_headers, "headers" }, { &key_client, "client" }, { &key_server, "server" },
        { &type_http, "http" },
    };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        *keys[i].key = PyUnicode_InternFromString(keys[i].text);
        if (*keys[i].key == NULL) {
            return -1;
        }
    }
    asgi_versions = Py_BuildValue("{ssss}", "version", "3.0", "spec_version", "2.4");
    return asgi_versions != NULL ? 0 : -1;
}
