/* NVML's symbols with recorded answers: two GPUs and a MIG slice, as pynvml asks for them.
 *
 * The scenario is in the environment, read at each call, so that a GPU can be lost midway:
 *   FAKE_<function>=N   that function answers with NVML's error N
 *   FAKE_LOST=1         every question to a device is answered with NVML_ERROR_GPU_IS_LOST
 *   FAKE_CLOCK_EVENTS   bits; FAKE_PIDS  process ids with commas between; FAKE_NO_GPM=1  a GPU before Hopper
 *   FAKE_INSTANT=N, FAKE_NVLINK=N, FAKE_TENSOR=N   the error of one field value or metric
 *   FAKE_ENERGY=N       the energy counter stands still at N mJ
 *   FAKE_SLOW=1         PCIe throughput takes the 20 ms that it takes on a GPU
 * With -DOLD_DRIVER the library lacks the symbols that came with driver 535.
 * fake_calls(name), fake_initialised() and fake_gpm_samples() tell the tests what was asked and what was not released.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15 };
enum { POWER_INSTANT = 186, NVLINK_TX = 138, NVLINK_RX = 139, DRAM = 10, TENSOR = 5, SM = 2, OCCUPANCY = 3 };

static struct { const char *name; unsigned calls; } asked[64];
static int initialised, gpm_samples;
static pid_t owner;

unsigned fake_calls(const char *name) {
    for (int i = 0; i < 64 && asked[i].name; i++)
        if (!strcmp(asked[i].name, name)) return asked[i].calls;
    return 0;
}
int fake_initialised(void) { return owner == getpid() ? initialised : 0; }
int fake_gpm_samples(void) { return gpm_samples; }

static unsigned long long setting(const char *name) {
    char key[96] = "FAKE_";
    const char *text = getenv(strncat(key, name, sizeof key - 6));
    return text ? strtoull(text, NULL, 0) : 0;
}
static unsigned answer(const char *name) {
    int i = 0;
    while (asked[i].name && strcmp(asked[i].name, name)) i++;
    asked[i].name = name;
    asked[i].calls++;
    return (unsigned)setting(name);
}
static unsigned check(const char *name) {
    unsigned error = answer(name);
    if (owner != getpid() || !initialised) return UNINITIALIZED; /* NVML's state does not survive a fork */
    return setting("LOST") ? LOST : error;
}
#define ASK do { unsigned error = check(__func__); if (error) return error; } while (0)

typedef const int *Device; /* its number: 0, 1, or 2 for the MIG slice */
static const int numbers[] = {0, 1, 2};
static const char *uuids[] = {"GPU-aaaa", "GPU-bbbb", "MIG-cccc"};

unsigned nvmlInitWithFlags(unsigned flags) {
    unsigned error = answer(__func__);
    (void)flags;
    if (error) return error;
    if (owner != getpid()) initialised = 0;
    owner = getpid();
    initialised++;
    return 0;
}
unsigned nvmlShutdown(void) {
    unsigned error = answer(__func__);
    if (error) return error;
    if (owner != getpid() || !initialised) return UNINITIALIZED;
    initialised--;
    return 0;
}
unsigned nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    ASK;
    for (int i = 0; i < 3; i++)
        if (!strcmp(uuid, uuids[i])) return *device = &numbers[i], 0;
    return NOT_FOUND;
}
unsigned nvmlDeviceGetUtilizationRates(Device device, unsigned *shares) {
    ASK;
    if (*device == 2) return NOT_SUPPORTED;
    shares[0] = 97 - *device;
    shares[1] = 40;
    return 0;
}
unsigned nvmlDeviceGetMemoryInfo(Device device, unsigned long long *memory) {
    ASK;
    memory[0] = 80ull << 30;
    memory[2] = (*device + 1ull) << 30;
    memory[1] = memory[0] - memory[2];
    return 0;
}
struct field_value {
    unsigned field, scope;
    long long timestamp, latency;
    unsigned type, error;
    union { unsigned number; unsigned long long counter; double real; } value;
};
unsigned nvmlDeviceGetFieldValues(Device device, int count, struct field_value *values) {
    ASK;
    for (int i = 0; i < count; i++) {
        values[i].error = 0;
        if (values[i].field == POWER_INSTANT) {
            values[i].error = (unsigned)setting("INSTANT");
            values[i].value.number = 700500 - *device * 100000;
        } else if (values[i].scope != ~0u) {
            values[i].error = INVALID_ARGUMENT;
        } else {
            values[i].error = (unsigned)setting("NVLINK");
            values[i].value.counter = values[i].field == NVLINK_TX ? 3 : 5;
        }
#ifdef OLD_DRIVER
        values[i].error = NOT_SUPPORTED;
#endif
    }
    return 0;
}
unsigned nvmlDeviceGetPowerUsage(Device device, unsigned *milliwatts) {
    ASK;
    *milliwatts = 650000 - *device * 100000;
    return 0;
}
unsigned nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long *millijoules) {
    ASK;
    (void)device;
    *millijoules = setting("ENERGY");
    if (!*millijoules) *millijoules = (1ull << 40) + 70000 * fake_calls(__func__); /* 70 J a call, beyond 32 bits */
    return 0;
}
unsigned nvmlDeviceGetClockInfo(Device device, unsigned clock, unsigned *mhz) {
    ASK;
    if (clock != 1 && clock != 2) return INVALID_ARGUMENT;
    *mhz = clock == 1 ? 1980 - *device : 2619;
    return 0;
}
unsigned nvmlDeviceGetTemperature(Device device, unsigned sensor, unsigned *celsius) {
    ASK;
    if (sensor) return INVALID_ARGUMENT;
    *celsius = 61 + *device;
    return 0;
}
unsigned nvmlDeviceGetCurrentClocksThrottleReasons(Device device, unsigned long long *bits) {
    ASK;
    (void)device;
    *bits = setting("CLOCK_EVENTS");
    return 0;
}
unsigned nvmlDeviceGetPcieThroughput(Device device, unsigned counter, unsigned *kilobytes) {
    ASK;
    (void)device;
    if (setting("SLOW")) usleep(20000);
    *kilobytes = counter ? 2000 : 1000;
    return 0;
}
struct process { unsigned pid; unsigned long long used; unsigned instance, compute; };
unsigned nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, struct process *found) {
    ASK;
    (void)device;
    const char *text = getenv("FAKE_PIDS");
    unsigned running = 0, room = found ? *count : 0;
    while (text && *text) {
        char *end;
        unsigned pid = (unsigned)strtoul(text, &end, 10);
        if (running < room) found[running] = (struct process){pid, 5ull << 20, ~0u, ~0u};
        running++;
        text = *end ? end + 1 : end;
    }
    *count = running;
    return running > room ? INSUFFICIENT_SIZE : 0;
}
#ifndef OLD_DRIVER
unsigned nvmlDeviceGetCurrentClocksEventReasons(Device device, unsigned long long *bits) {
    ASK;
    (void)device;
    *bits = setting("CLOCK_EVENTS");
    return 0;
}
static unsigned long long taken;
struct metric { unsigned id, error; double value; const char *names[3]; };
struct metrics { unsigned version, count; unsigned long long *first, *second; struct metric found[]; };
unsigned nvmlGpmQueryDeviceSupport(Device device, unsigned *support) {
    ASK;
    (void)device;
    if (support[0] != 1) return INVALID_ARGUMENT;
    support[1] = !setting("NO_GPM");
    return 0;
}
unsigned nvmlGpmSampleAlloc(unsigned long long **sample) {
    ASK;
    *sample = calloc(1, sizeof **sample);
    gpm_samples++;
    return 0;
}
unsigned nvmlGpmSampleFree(unsigned long long *sample) {
    (void)answer(__func__);
    free(sample);
    gpm_samples--;
    return 0;
}
unsigned nvmlGpmSampleGet(Device device, unsigned long long *sample) {
    ASK;
    (void)device;
    *sample = ++taken;
    return 0;
}
unsigned nvmlGpmMetricsGet(struct metrics *asked_for) {
    ASK;
    if (asked_for->version != 1 || !*asked_for->first || *asked_for->second != *asked_for->first + 1)
        return INVALID_ARGUMENT; /* two samples, the later one second */
    for (unsigned i = 0; i < asked_for->count; i++) {
        unsigned id = asked_for->found[i].id;
        asked_for->found[i].error = id == TENSOR ? (unsigned)setting("TENSOR") : 0;
        asked_for->found[i].value = id == DRAM ? 71.5 : id == TENSOR ? 33.25 : id == SM ? 95.0 : id == OCCUPANCY ? 40.5 : -1;
    }
    return 0;
}
#endif
