/*
 * The part of libnvidia-ml that attestation uses, in front of GPUs that a test describes. Structures and numbers are
 * those of nvml.h. What begins with fake_ is for the test.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SUCCESS 0
#define UNINITIALIZED 1
#define INVALID_ARGUMENT 2
#define NOT_SUPPORTED 3
#define ARGUMENT_VERSION_MISMATCH 25

#define MAX_GPUS 32
#define SETTINGS_V1 0x01000014u
#define FABRIC_V2 0x02000024u

struct system_state {
	unsigned int environment;
	unsigned int cc_feature;
	unsigned int dev_tools_mode;
};

struct settings {
	unsigned int version;
	unsigned int environment;
	unsigned int cc_feature;
	unsigned int dev_tools_mode;
	unsigned int multi_gpu_mode;
};

struct certificate {
	unsigned int chain_size;
	unsigned int attestation_chain_size;
	unsigned char chain[0x1000];
	unsigned char attestation_chain[0x1400];
};

struct attestation_report {
	unsigned int is_cec_report_present;
	unsigned int report_size;
	unsigned int cec_report_size;
	unsigned char nonce[0x20];
	unsigned char report[0x2000];
	unsigned char cec_report[0x1000];
};

struct fabric {
	unsigned int version;
	unsigned char cluster_uuid[16];
	int status;
	unsigned int clique_id;
	unsigned char state;
	unsigned int health_mask;
};

_Static_assert(sizeof(struct attestation_report) == 12332, "attestation report");
_Static_assert(sizeof(struct certificate) == 9224, "certificates");
_Static_assert(sizeof(struct system_state) == 12, "system state");
_Static_assert(sizeof(struct settings) == 20, "settings");
_Static_assert(sizeof(struct fabric) == 36, "fabric information");

/* Makes the report of a GPU for a nonce; says how long it is. */
typedef uint32_t (*signer)(uint32_t gpu, const uint8_t *nonce, uint8_t *report);

struct gpu {
	unsigned char chain[0x1400];
	uint32_t chain_size;
};

static struct {
	char name[64];
	uint32_t value;
} values[64];
static struct gpu gpus[MAX_GPUS];
static signer sign;
static char version_text[80];
static char failing[64];
static int failure;
static char hanging[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;

uint32_t fake_get(const char *name)
{
	for (int i = 0; i < 64; i++)
		if (!strcmp(values[i].name, name)) return values[i].value;
	return 0;
}

void fake_set(const char *name, uint32_t value)
{
	for (int i = 0; i < 64; i++) {
		if (values[i].name[0] && strcmp(values[i].name, name)) continue;
		snprintf(values[i].name, sizeof values[i].name, "%s", name);
		values[i].value = value;
		return;
	}
}

void fake_reset(void)
{
	memset(values, 0, sizeof values);
	memset(gpus, 0, sizeof gpus);
	sign = 0;
	failing[0] = 0;
	hanging[0] = 0;
	strcpy(version_text, "580.95.05");
}

void fake_version(const char *text) { snprintf(version_text, sizeof version_text, "%s", text); }

void fake_chain(uint32_t gpu, const uint8_t *bytes, uint32_t size)
{
	memcpy(gpus[gpu].chain, bytes, size);
	gpus[gpu].chain_size = size;
}

void fake_signer(signer callback) { sign = callback; }

void fake_fail(const char *function, int code)
{
	snprintf(failing, sizeof failing, "%s", function);
	failure = code;
}

void fake_hang(const char *function) { snprintf(hanging, sizeof hanging, "%s", function); }

void fake_release(void)
{
	pthread_mutex_lock(&lock);
	hanging[0] = 0;
	pthread_cond_broadcast(&released);
	pthread_mutex_unlock(&lock);
}

static void count(const char *name) { fake_set(name, fake_get(name) + 1); }

/* What every function does first: hang if it has to, and then fail if it has to. */
static int enter(const char *function)
{
	char calls[80];
	snprintf(calls, sizeof calls, "calls:%s", function);
	count(calls);
	pthread_mutex_lock(&lock);
	while (!strcmp(hanging, function)) pthread_cond_wait(&released, &lock);
	pthread_mutex_unlock(&lock);
	if (!strcmp(failing, function)) return failure;
	if (strcmp(function, "nvmlInit_v2") && !fake_get("initialised")) return UNINITIALIZED;
	return SUCCESS;
}

#define ENTER()                                     \
	do {                                        \
		int failed = enter(__func__);       \
		if (failed) return failed;          \
	} while (0)

/* Handles are no indices, so that one that was cut shows. */
static void *handle_of(uint32_t index) { return &gpus[index]; }

static int index_of(void *handle)
{
	for (uint32_t i = 0; i < fake_get("count"); i++)
		if (handle_of(i) == handle) return (int)i;
	return -1;
}

int nvmlInit_v2(void)
{
	ENTER();
	count("initialised");
	return SUCCESS;
}

int nvmlShutdown(void)
{
	ENTER();
	fake_set("initialised", fake_get("initialised") - 1);
	return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
	ENTER();
	if (fake_get("endlessText")) memset(version, '5', length);
	else snprintf(version, length, "%s", version_text);
	return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *number)
{
	ENTER();
	*number = fake_get("count");
	return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
	ENTER();
	if (index >= fake_get("count")) return INVALID_ARGUMENT;
	*device = handle_of(index);
	return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length)
{
	ENTER();
	if (index_of(device) < 0) return INVALID_ARGUMENT;
	snprintf(uuid, length, "GPU-00000000-0000-4000-8000-%012x", 0xabc000 + index_of(device));
	return SUCCESS;
}

int nvmlDeviceGetArchitecture(void *device, unsigned int *architecture)
{
	ENTER();
	if (index_of(device) < 0) return INVALID_ARGUMENT;
	*architecture = fake_get("architecture");
	return SUCCESS;
}

int nvmlDeviceGetGpuFabricInfoV(void *device, struct fabric *info)
{
	ENTER();
	if (index_of(device) < 0) return INVALID_ARGUMENT;
	if (info->version != FABRIC_V2) return ARGUMENT_VERSION_MISMATCH;
	struct fabric answer = {.version = FABRIC_V2, .state = (unsigned char)fake_get("fabricState")};
	*info = answer;
	return SUCCESS;
}

int nvmlDeviceGetConfComputeGpuCertificate(void *device, struct certificate *certificate)
{
	ENTER();
	int index = index_of(device);
	if (index < 0) return INVALID_ARGUMENT;
	if (!fake_get("enabled")) return NOT_SUPPORTED;
	memcpy(certificate->attestation_chain, gpus[index].chain, gpus[index].chain_size);
	certificate->attestation_chain_size = gpus[index].chain_size + fake_get("moreChain");
	return SUCCESS;
}

int nvmlDeviceGetConfComputeGpuAttestationReport(void *device, struct attestation_report *report)
{
	ENTER();
	int index = index_of(device);
	if (index < 0) return INVALID_ARGUMENT;
	if (!fake_get("enabled")) return NOT_SUPPORTED;
	uint32_t size = sign ? sign((uint32_t)index, report->nonce, report->report) : 0;
	report->report_size = size + fake_get("moreReport");
	return SUCCESS;
}

int nvmlSystemGetConfComputeState(struct system_state *state)
{
	ENTER();
	state->environment = fake_get("environment");
	state->cc_feature = fake_get("enabled");
	state->dev_tools_mode = fake_get("devTools");
	return SUCCESS;
}

int nvmlSystemGetConfComputeSettings(struct settings *settings)
{
	ENTER();
	if (settings->version != SETTINGS_V1) return ARGUMENT_VERSION_MISMATCH;
	settings->environment = fake_get("environment");
	settings->cc_feature = fake_get("enabled");
	settings->dev_tools_mode = fake_get("otherDevTools") ? !fake_get("devTools") : fake_get("devTools");
	settings->multi_gpu_mode = fake_get("multiGpuMode");
	return SUCCESS;
}

int nvmlSystemGetConfComputeGpusReadyState(unsigned int *accepting)
{
	ENTER();
	*accepting = fake_get("ready");
	return SUCCESS;
}

int nvmlSystemSetConfComputeGpusReadyState(unsigned int accepting)
{
	ENTER();
	if (!fake_get("deaf")) fake_set("ready", accepting);
	return SUCCESS;
}
