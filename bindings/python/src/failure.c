/*
 * failure.c - what goes wrong, as an exception of Python's, and exceptions as lines of the log.
 */
#include "wsgi.h"

static PyObject *gone_type, *name_traceback, *name_format;

_Thread_local PyObject *wsgi_interrupt;
_Thread_local int       wsgi_interruptible;

/* What is wrong with a field, as the library has it; NULL: nothing that is known here. */
static const char *
wrong_with(gw_str name, gw_str value)
{
    static const char *const hops[] = {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te",
        "trailer", "trailers", "transfer-encoding", "upgrade",
    };

    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char) name.data[i];

        if (!Py_ISALNUM(c) && (c == '\0' || strchr("!#$%&'*+-.^_`|~", c) == NULL)) {
            return "the name is not a token";
        }
    }
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char) value.data[i];

        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return "the value has a control character";
        }
    }
    for (size_t i = 0; i < sizeof hops / sizeof *hops; i++) {
        if (name.len == strlen(hops[i]) && PyOS_mystrnicmp(hops[i], name.data, (Py_ssize_t) name.len) == 0) {
            return "hop-by-hop: the connection is the server's business";
        }
    }
    if (name.len == 14 && PyOS_mystrnicmp("content-length", name.data, 14) == 0) {
        return "not a number, there is another, or an answer of this status has no body";
    }
    return name.len == 0 ? "the name is empty" : NULL;
}

/* An exception for what the library said; `head` may be NULL. */
PyObject *
wsgi_refused(gw_result rc, const char *what, const gw_response *head)
{
    const char *why = NULL;
    size_t      i = 0;

    if (PyErr_Occurred()) {
        return NULL;                    /* of what it waited by */
    }
    switch (rc) {
    case GW_ERR_STATE:
        PyErr_Format(PyExc_AssertionError, "%s: not here, or called before (a second time needs exc_info)",
                     what);
        break;
    case GW_ERR_PROTOCOL:
    case GW_ERR_INVALID:
        for (; head != NULL && i < head->header_count && why == NULL; i++) {
            why = wrong_with(head->headers[i].name, head->headers[i].value);
        }
        if (why != NULL) {
            PyObject *name = PyUnicode_DecodeLatin1(head->headers[i - 1].name.data,
                                                    (Py_ssize_t) head->headers[i - 1].name.len, NULL);

            /* Not the value, which may be a secret. */
            PyErr_Format(PyExc_ValueError, "%s: header %zu, %R: %s", what, i - 1, name, why);
            Py_XDECREF(name);
        } else {
            PyErr_Format(PyExc_ValueError, "%s: a status, or a header, that HTTP does not allow", what);
        }
        break;
    case GW_ERR_MEMORY:
        PyErr_NoMemory();
        break;
    case GW_ERR_CLOSED:
        PyErr_Format(gone_type, "%s: the client has left", what);
        break;
    default:
        PyErr_Format(PyExc_OSError, "%s: %s", what, gw_result_text(rc));
    }
    return NULL;
}

PyObject *
wsgi_gone(void)
{
    return gone_type;
}

/* A str in the log; it is UTF-8 there, and what is not text at all is escaped. */
static int
log_text(const gw_environ *env, PyObject *text)
{
    PyObject *utf8 = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace");

    if (utf8 == NULL) {
        return -1;
    }
    wsgi_log(env, PyBytes_AS_STRING(utf8), (size_t) PyBytes_GET_SIZE(utf8));
    Py_DECREF(utf8);
    return 0;
}

void
wsgi_log_exception(const gw_environ *env, const char *where)
{
    PyObject *type, *value, *trace, *module, *lines = NULL, *text = NULL;

    if (PyErr_ExceptionMatches(gone_type)) {
        /* Nobody's mistake: the application has only passed on what we said. */
        PyErr_Clear();
        if (env != NULL) {
            gw_log(env, GW_LOG_DEBUG, "the client has left", 19);
        }
        return;
    }
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    if (trace != NULL && value != NULL) {
        (void) PyException_SetTraceback(value, trace);
    }
    if (wsgi_interruptible && wsgi_interrupt == NULL
        && PyErr_GivenExceptionMatches(type, PyExc_KeyboardInterrupt)) {
        wsgi_interrupt = Py_XNewRef(value);             /* for who turns the server in this thread */
    } else {
        module = PyImport_Import(name_traceback);
        if (module != NULL) {
            lines = PyObject_CallMethodObjArgs(module, name_format, type, value != NULL ? value : Py_None,
                                               trace != NULL ? trace : Py_None, NULL);
        }
        if (lines != NULL) {
            PyObject *empty = PyUnicode_FromString("");

            text = empty != NULL ? PyUnicode_Join(empty, lines) : NULL;
            Py_XDECREF(empty);
        }
        wsgi_errors_flush();
        if (text == NULL || log_text(env, text) < 0) {
            wsgi_log(env, where, strlen(where));
        }
        PyErr_Clear();
        Py_XDECREF(text);
        Py_XDECREF(lines);
        Py_XDECREF(module);
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(trace);
}

int
wsgi_failure_init(PyObject *module)
{
    name_traceback = PyUnicode_InternFromString("traceback");
    name_format = PyUnicode_InternFromString("format_exception");
    gone_type = PyErr_NewExceptionWithDoc(
        "gateway.ClientGone",
        "The client has left: what is read from it, or written to it, cannot be had.  An application may "
        "let this pass: it is no error of its own, and the log has no traceback of it.",
        PyExc_ConnectionResetError, NULL);
    return name_traceback != NULL && name_format != NULL && gone_type != NULL
         ? PyModule_AddObjectRef(module, "ClientGone", gone_type)
         : -1;
}
