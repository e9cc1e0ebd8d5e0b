/* A stand-in for libnvidia-ml.so.1, for tests on machines without a GPU. It is not NVIDIA's library and measures nothing.
 *
 * The variable STANDIN_NVML says what it plays, as words with blanks between:
 *   devices=4             how many GPUs there are (default 2)
 *   mig=3                 GPU 0 is divided into so many slices
 *   missing=energy,pcie   counters that answer "not supported": energy power utilisation memory temperature clocks
 *                         throttle pcie replay nvlink fields processes
 *   lost=1@40             from the 40th call on, GPU 1 answers "lost"
 *   hang=100              the 100th call, and all after it, never return
 *   silent=1@40           from the 40th call on, GPU 1 answers "unknown error"
 *   init=9                the library does not start, with this error
 *   processes=PATH        a file with a line for each process: GPU, slice or -1, process id, bytes
 *
 * GPU n takes 100 * (n + 1) watts, always, and its energy counter is that times the seconds since the machine started.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long long u64;
enum { OK = 0, NOT_INITIALISED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15, UNKNOWN = 999 };
enum { MOST = 64 };

static int started, calls, calls_of[MOST];

static const char *said(const char *word)
{
    const char *all = getenv("STANDIN_NVML");
    size_t length = strlen(word);
    for (const char *at = all; at && *at; at = strchr(at, ' ') ? strchr(at, ' ') + 1 : NULL)
        if (!strncmp(at, word, length) && at[length] == '=')
            return at + length + 1;
    return NULL;
}

static int number(const char *word, int otherwise)
{
    const char *text = said(word);
    return text ? atoi(text) : otherwise;
}

static int missing(const char *counter)
{
    const char *text = said("missing");
    size_t length = strlen(counter);
    for (; text && *text && *text != ' '; text += strcspn(text, ", ") + (text[strcspn(text, ", ")] == ','))
        if (!strncmp(text, counter, length) && strchr(", ", text[length]))
            return 1;
    return 0;
}

/* A handle is 1 + GPU, or 1000 * (1 + GPU) + 1 + slice. */
static int gpu_of(void *handle) { long h = (long)handle; return h >= 1000 ? (int)(h / 1000) - 1 : (int)h - 1; }
static int slice_of(void *handle) { long h = (long)handle; return h >= 1000 ? (int)(h % 1000) - 1 : -1; }

static int from_call(const char *word, int gpu)
{
    const char *text = said(word);
    int which, when;
    return text && sscanf(text, "%d@%d", &which, &when) == 2 && which == gpu && calls_of[gpu] >= when;
}

static int enter(void *handle, const char *counter, int slices_too)
{
    int gpu = gpu_of(handle), hang = number("hang", 0);
    calls++;
    while (hang && calls >= hang)
        pause();
    if (!started)
        return NOT_INITIALISED;
    if (gpu < 0 || gpu >= number("devices", 2) || gpu >= MOST)
        return INVALID;
    calls_of[gpu]++;
    if (from_call("lost", gpu))
        return LOST;
    if (from_call("silent", gpu))
        return UNKNOWN;
    if (counter && (missing(counter) || (slice_of(handle) >= 0 && !slices_too)))
        return NOT_SUPPORTED;
    return OK;
}

#define ENTER(handle, counter, slices_too)                   \
    do {                                                     \
        int result = enter((handle), (counter), (slices_too)); \
        if (result) return result;                           \
    } while (0)

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static unsigned watts(void *handle) { return 100 * (gpu_of(handle) + 1); }

int nvmlInit_v2(void) { int error = number("init", 0); if (!error) started++; return error; }
int nvmlInitWithFlags(unsigned flags) { return flags ? INVALID : nvmlInit_v2(); }
int nvmlShutdown(void) { if (!started) return NOT_INITIALISED; started--; return OK; }
const char *nvmlErrorString(int error) { return error == LOST ? "GPU is lost" : error ? "an error of the stand-in" : "success"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "stand-in"); return OK; }
int nvmlSystemGetNVMLVersion(char *text, unsigned size) { snprintf(text, size, "stand-in"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { if (!started) return NOT_INITIALISED; *count = number("devices", 2); return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle)
{
    *handle = (void *)(long)(index + 1);
    ENTER(*handle, NULL, 1);
    return OK;
}

int nvmlDeviceGetUUID(void *handle, char *text, unsigned size)
{
    /* Two nodes of a test have GPUs of their own. */
    const char *node = getenv("STANDIN_NODE") ? getenv("STANDIN_NODE") : "n0";
    ENTER(handle, NULL, 1);
    if (slice_of(handle) >= 0)
        snprintf(text, size, "MIG-standin-%s-%d-%d", node, gpu_of(handle), slice_of(handle));
    else
        snprintf(text, size, "GPU-standin-%s-%d", node, gpu_of(handle));
    return OK;
}

int nvmlDeviceGetName(void *handle, char *text, unsigned size)
{
    ENTER(handle, NULL, 1);
    snprintf(text, size, slice_of(handle) >= 0 ? "Stand-in MIG 1g" : "Stand-in GPU");
    return OK;
}

struct memory { u64 total, free, used; };
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *memory)
{
    ENTER(handle, "memory", 1);
    memory->total = 80ull << 30;
    memory->used = (u64)(gpu_of(handle) + 1) << 30;
    memory->free = memory->total - memory->used;
    return OK;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(void *handle, struct pci *pci)
{
    ENTER(handle, "pci", 0);
    memset(pci, 0, sizeof *pci);
    pci->bus = gpu_of(handle) + 1;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return OK;
}

int nvmlDeviceGetPowerManagementLimit(void *handle, unsigned *limit) { ENTER(handle, "power", 0); *limit = 700000; return OK; }
int nvmlDeviceGetPowerUsage(void *handle, unsigned *power) { ENTER(handle, "power", 0); *power = watts(handle) * 1000; return OK; }

int nvmlDeviceGetTotalEnergyConsumption(void *handle, u64 *energy)
{
    ENTER(handle, "energy", 0);
    *energy = (u64)(watts(handle) * seconds() * 1000);
    return OK;
}

int nvmlDeviceGetUtilizationRates(void *handle, unsigned *rates)
{
    ENTER(handle, "utilisation", 0);
    rates[0] = 90 + gpu_of(handle);
    rates[1] = 40 + gpu_of(handle);
    return OK;
}

int nvmlDeviceGetTemperature(void *handle, int sensor, unsigned *degrees)
{
    ENTER(handle, "temperature", 0);
    *degrees = 50 + gpu_of(handle) + 0 * sensor;
    return OK;
}

int nvmlDeviceGetClockInfo(void *handle, int type, unsigned *clock)
{
    ENTER(handle, "clocks", 0);
    *clock = type == 2 ? 2600 : 1900;
    return OK;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *handle, u64 *reasons) { ENTER(handle, "throttle", 0); *reasons = 4; return OK; }
int nvmlDeviceGetPcieReplayCounter(void *handle, unsigned *count) { ENTER(handle, "replay", 0); *count = 3; return OK; }

int nvmlDeviceGetPcieThroughput(void *handle, int counter, unsigned *kilobytes)
{
    ENTER(handle, "pcie", 0);
    usleep(20000);
    *kilobytes = counter ? 2000 : 1000;
    return OK;
}

struct field { unsigned id, scope; long long time, latency; int type, result; union { double real; unsigned small; u64 large; } value; };
int nvmlDeviceGetFieldValues(void *handle, int count, struct field *fields)
{
    ENTER(handle, NULL, 0);
    for (struct field *one = fields; one < fields + count; one++) {
        int nvlink = one->id == 138 || one->id == 139, pcie = one->id == 197 || one->id == 198;
        one->type = 3;
        one->result = slice_of(handle) >= 0 || missing("fields") || (nvlink && missing("nvlink")) || (pcie && missing("pcie"))
                      || !(nvlink || pcie) ? NOT_SUPPORTED : OK;
        one->value.large = (u64)(seconds() * (nvlink ? 1 << 20 : 1 << 28));
    }
    return OK;
}

struct process { unsigned pid; u64 memory; unsigned gpu_instance, compute_instance; };
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned *count, struct process *processes)
{
    char path[4096] = "", line[256];
    unsigned found = 0, room = *count;
    ENTER(handle, "processes", 1);
    if (said("processes"))
        sscanf(said("processes"), "%4095s", path);
    FILE *file = *path ? fopen(path, "r") : NULL;
    while (file && fgets(line, sizeof line, file)) {
        struct process one = {0};
        int gpu, slice;
        if (sscanf(line, "%d %d %u %llu", &gpu, &slice, &one.pid, &one.memory) != 4)
            continue;
        if (gpu != gpu_of(handle) || (slice_of(handle) >= 0 && slice != slice_of(handle)))
            continue;
        if (processes && found < room)
            processes[found] = one;
        found++;
    }
    if (file)
        fclose(file);
    *count = found;
    return found > room ? TOO_SMALL : OK;
}

int nvmlDeviceGetMigMode(void *handle, unsigned *current, unsigned *pending)
{
    ENTER(handle, NULL, 0);
    if (!said("mig"))
        return NOT_SUPPORTED;
    *current = *pending = gpu_of(handle) == 0;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(void *handle, unsigned *count) { ENTER(handle, NULL, 0); *count = 7; return OK; }

int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, unsigned index, void **slice)
{
    ENTER(handle, NULL, 0);
    if ((int)index >= number("mig", 0))
        return NOT_FOUND;
    *slice = (void *)(1000 * ((long)handle) + index + 1);
    return OK;
}
