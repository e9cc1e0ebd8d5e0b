/* What a compiled recorder would cost: the body of provml_hpc/capture/recorder.py in C, for `benchmarks.cold` alone.
 *
 * It checks the thread, reads the clock, packs the frame into the window and publishes the length, as the generated
 * Python does. It is a measure, no part of the library: what it cannot take it raises. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdint.h>
#include <time.h>

typedef struct {
    PyObject_HEAD
    Py_buffer window;
    uint64_t at, sequence, size, head;
    pthread_t owner;
    Py_ssize_t values;
} Recorder;

static PyObject *record(PyObject *self, PyObject *const *given, Py_ssize_t count)
{
    Recorder *r = (Recorder *)self;
    if (count != r->values + 1 || !pthread_equal(pthread_self(), r->owner)
        || r->at + r->size > (uint64_t)r->window.len) {
        PyErr_SetString(PyExc_RuntimeError, "not for this recorder, or the window is full");
        return NULL;
    }
    uint64_t *word = (uint64_t *)((char *)r->window.buf + r->at);
    double *place = (double *)(word + 5);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    word[0] = r->head;
    word[1] = r->sequence;
    word[2] = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    long long step = PyLong_AsLongLong(given[0]);
    if (step == -1 && PyErr_Occurred())
        return NULL;
    word[3] = (uint64_t)step;
    word[4] = 0;
    for (Py_ssize_t i = 1; i < count; i++) {
        double value = PyFloat_AsDouble(given[i]);
        if (value == -1.0 && PyErr_Occurred())
            return NULL;
        place[i - 1] = value;
    }
    r->at += r->size;
    __atomic_store_n((uint64_t *)r->window.buf + 1, r->at, __ATOMIC_RELEASE);
    r->sequence++;
    Py_RETURN_NONE;
}

static void forget(PyObject *self)
{
    PyBuffer_Release(&((Recorder *)self)->window);
    PyObject_Free(self);
}

static PyTypeObject kind = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "compiled.Recorder",
    .tp_basicsize = sizeof(Recorder),
    .tp_dealloc = forget,
    .tp_flags = Py_TPFLAGS_DEFAULT,
};
static PyMethodDef method = {"record", (PyCFunction)(void *)record, METH_FASTCALL, "Record a step and its values."};

static PyObject *make(PyObject *module, PyObject *arguments)
{
    PyObject *window;
    Py_ssize_t values;
    if (!PyArg_ParseTuple(arguments, "On", &window, &values))
        return NULL;
    Recorder *r = PyObject_New(Recorder, &kind);
    if (r == NULL)
        return NULL;
    if (PyObject_GetBuffer(window, &r->window, PyBUF_WRITABLE) < 0) {
        PyObject_Free(r);
        return NULL;
    }
    r->at = 4096;
    r->sequence = 1;
    r->size = 40 + 8 * (uint64_t)values;
    r->head = r->size | (uint64_t)1 << 32;
    r->owner = pthread_self();
    r->values = values;
    PyObject *made = PyCFunction_New(&method, (PyObject *)r);
    Py_DECREF(r);
    return made;
}

static PyMethodDef functions[] = {
    {"make", make, METH_VARARGS, "Return a recorder of so many values into a window."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "compiled", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_compiled(void)
{
    return PyType_Ready(&kind) < 0 ? NULL : PyModule_Create(&definition);
}
