/*
 * compat.h - one source for every CPython from 3.10 on, and for the stable ABI (abi3, from 3.12 on).
 *
 * Built for one version, the sources use CPython's macros as they are: they read an object's memory.
 * Built with Py_LIMITED_API, the same names are functions of the stable ABI: a little slower, and one
 * build for all versions.  What neither has by one name is a wsgi_ function here.
 */
#ifndef GATEWAY_PYTHON_COMPAT_H
#define GATEWAY_PYTHON_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* T_INT and the like; they are in Python.h as Py_T_INT from 3.12 on. */
#include <structmember.h>

#if PY_VERSION_HEX < 0x030a0000
# error "CPython 3.10 or later"
#endif

#ifdef Py_LIMITED_API

# if Py_LIMITED_API < 0x030c0000
#  error "Py_LIMITED_API before 3.12 has no vectorcall"
# endif

# define PyBytes_AS_STRING    PyBytes_AsString
# define PyBytes_GET_SIZE     PyBytes_Size
# define PyByteArray_AS_STRING PyByteArray_AsString
# define PyByteArray_GET_SIZE PyByteArray_Size
# define PyDict_GET_SIZE      PyDict_Size
# define PyList_GET_ITEM      PyList_GetItem
# define PyList_GET_SIZE      PyList_Size
# define PyList_SET_ITEM      PyList_SetItem
# define PyTuple_GET_ITEM     PyTuple_GetItem
# define PyTuple_GET_SIZE     PyTuple_Size
# define PyTuple_SET_ITEM     PyTuple_SetItem
# define PyUnicode_GET_LENGTH PyUnicode_GetLength

# if Py_LIMITED_API < 0x030d0000
#  define PyUnicode_AsUTF8(text) PyUnicode_AsUTF8AndSize((text), NULL)
# endif

# define PyObject_CallOneArg(callable, arg) PyObject_CallFunctionObjArgs((callable), (arg), NULL)
# define PyMem_RawMalloc      malloc
# define PyMem_RawCalloc      calloc
# define PyMem_RawRealloc     realloc
# define PyMem_RawFree        free
# define Py_ISALNUM(c)        (((c) >= '0' && (c) <= '9') || (((c) | 32) >= 'a' && ((c) | 32) <= 'z'))

# define Py_SETREF(place, value)                    \
    do {                                            \
        PyObject *old_ = (PyObject *) (place);      \
        (place) = (value);                          \
        Py_DECREF(old_);                            \
    } while (0)
# define Py_XSETREF(place, value)                   \
    do {                                            \
        PyObject *old_ = (PyObject *) (place);      \
        (place) = (value);                          \
        Py_XDECREF(old_);                           \
    } while (0)

/* Not of the stable ABI, though every CPython has it: what that has lets the lock go first, and then an interpreter
   that ends frees the state, too.  Without it, a state that was cleared stays until then. */
static inline void
wsgi_delete_current(void)
{
    void *found = dlsym(RTLD_DEFAULT, "PyThreadState_DeleteCurrent");
    void (*delete_current)(void);

    if (found == NULL) {
        (void) PyEval_SaveThread();
        return;
    }
    memcpy(&delete_current, &found, sizeof found);
    delete_current();
}
# define PyThreadState_DeleteCurrent wsgi_delete_current

/* Only what nobody else has yet, as CPython's. */
static inline int
wsgi_bytes_resize(PyObject **bytes, Py_ssize_t size)
{
    Py_ssize_t had = PyBytes_Size(*bytes);
    PyObject  *other = PyBytes_FromStringAndSize(NULL, size);

    if (other != NULL) {
        memcpy(PyBytes_AsString(other), PyBytes_AsString(*bytes), (size_t) (had < size ? had : size));
    }
    Py_DECREF(*bytes);
    *bytes = other;
    return other != NULL ? 0 : -1;
}
# define _PyBytes_Resize wsgi_bytes_resize

#endif

/* The function in a slot of a type, of the type that it has: WSGI_SLOT(type, tp_iternext, iternextfunc)(x). */
#ifdef Py_LIMITED_API
# define WSGI_SLOT(type, name, kind) ((kind) PyType_GetSlot((type), Py_##name))
#else
# define WSGI_SLOT(type, name, kind) ((type)->name)
#endif

/* The octets of a str whose characters are all latin-1; NULL, without an exception, if one is not.  They
   stay as long as the str does, or, in abi3, until `keep` is dropped: it may be given a reference. */
static inline const char *
wsgi_latin1(PyObject *text, Py_ssize_t *len, PyObject **keep)
{
#ifdef Py_LIMITED_API
    const char *octets = PyUnicode_AsUTF8AndSize(text, len);
    PyObject   *bytes;

    if (octets != NULL && *len == PyUnicode_GetLength(text)) {
        return octets;                              /* ASCII: the object's own memory */
    }
    PyErr_Clear();
    bytes = PyUnicode_AsLatin1String(text);
    if (bytes == NULL) {
        PyErr_Clear();
        return NULL;
    }
    if (*keep == NULL) {
        *keep = PyList_New(0);
    }
    if (*keep == NULL || PyList_Append(*keep, bytes) < 0) {
        PyErr_Clear();
        Py_DECREF(bytes);
        return NULL;
    }
    Py_DECREF(bytes);                               /* the list has it */
    *len = PyBytes_Size(bytes);
    return PyBytes_AsString(bytes);
#else
    (void) keep;
    if (PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND) {
        return NULL;
    }
    *len = PyUnicode_GET_LENGTH(text);
    return (const char *) PyUnicode_1BYTE_DATA(text);
#endif
}

/* The octets of a str of latin-1 where they can be had at once: in abi3, of ASCII. */
static inline const char *
wsgi_ascii(PyObject *text, Py_ssize_t *len)
{
#ifdef Py_LIMITED_API
    return PyUnicode_AsUTF8AndSize(text, len);
#else
    *len = PyUnicode_GET_LENGTH(text);
    return (const char *) PyUnicode_1BYTE_DATA(text);
#endif
}

/* Whether nobody else has this object.  Where references are counted in two places that is not asked. */
static inline int
wsgi_is_alone(PyObject *object)
{
#ifdef Py_GIL_DISABLED
    (void) object;
    return 0;
#else
    return Py_REFCNT(object) == 1;
#endif
}

/* The name of a type, for a message; good until the next call in this thread. */
static inline const char *
wsgi_type_name(PyTypeObject *type)
{
#ifdef Py_LIMITED_API
    static _Thread_local char text[100];
    PyObject                 *name = PyType_GetName(type);
    const char               *utf8 = name != NULL ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;

    PyErr_Clear();
    snprintf(text, sizeof text, "%s", utf8 != NULL ? utf8 : "object");
    Py_XDECREF(name);
    return text;
#else
    return type->tp_name;
#endif
}

#endif
