/*
 * The part of libnvidia-nscq that attestation uses, in front of switches that a test describes. Structures and numbers
 * are those of nscq_attestation.h. What begins with fake_ is for the test.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define SUCCESS 0
#define UNEXPECTED_VALUE (-5)

typedef int8_t nscq_rc_t;
typedef void (*nscq_fn_t)(void);

struct uuid {
	uint8_t bytes[16];
};

struct label {
	char data[64];
};

struct report {
	uint32_t report_size;
	uint8_t report[0x2000];
};

struct certificate {
	uint8_t cert_chain[0x1400];
	uint32_t cert_chain_size;
};

struct session_result {
	nscq_rc_t rc;
	void *session;
};

_Static_assert(sizeof(struct report) == 8196, "report");
_Static_assert(sizeof(struct certificate) == 5124, "certificate");

typedef uint32_t (*signer)(uint32_t device, const uint8_t *nonce, uint8_t *report);

static uint32_t number_of_switches;
static struct certificate chains[32];
static signer sign;
static uint8_t input[32];
static uint32_t input_size;
static char failing[64];
static nscq_rc_t failure;
static nscq_rc_t answer_code;
static int8_t mode;
static uint32_t more;
static uint32_t repeats;
static char label_form[64];
static int sessions;
static int hanging;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;

void fake_reset(uint32_t number)
{
	number_of_switches = number;
	sessions = 0;
	failing[0] = 0;
	answer_code = SUCCESS;
	mode = 3;
	more = 0;
	repeats = 1;
	input_size = 0;
	strcpy(label_form, "SWX-0000000%u-0000");
}

void fake_signer(signer callback) { sign = callback; }

void fake_chain(uint32_t device, const uint8_t *bytes, uint32_t size)
{
	memcpy(chains[device].cert_chain, bytes, size);
	chains[device].cert_chain_size = size;
}

void fake_fail(const char *function, int code)
{
	snprintf(failing, sizeof failing, "%s", function);
	failure = (nscq_rc_t)code;
}

void fake_answers(int code, int new_mode, uint32_t new_more, uint32_t new_repeats)
{
	answer_code = (nscq_rc_t)code;
	mode = (int8_t)new_mode;
	more = new_more;
	repeats = new_repeats;
}

void fake_label(const char *form) { snprintf(label_form, sizeof label_form, "%s", form); }

int fake_sessions(void) { return sessions; }

void fake_hang(int whether)
{
	pthread_mutex_lock(&lock);
	hanging = whether;
	pthread_cond_broadcast(&released);
	pthread_mutex_unlock(&lock);
}

static nscq_rc_t enter(const char *function) { return strcmp(failing, function) ? SUCCESS : failure; }

struct session_result nscq_session_create(uint32_t flags)
{
	struct session_result result = {enter(__func__), &sessions};
	if (flags != 1) result.rc = UNEXPECTED_VALUE;
	if (result.rc < 0) result.session = 0;
	else sessions++;
	return result;
}

void nscq_session_destroy(void *session)
{
	if (session == &sessions) sessions--;
}

nscq_rc_t nscq_session_set_input(void *session, uint32_t flags, void *bytes, uint32_t size)
{
	if (session != &sessions || flags || size > sizeof input) return UNEXPECTED_VALUE;
	memcpy(input, bytes, size);
	input_size = size;
	return enter(__func__);
}

nscq_rc_t nscq_uuid_to_label(const struct uuid *uuid, struct label *label, uint32_t flags)
{
	if (flags) return UNEXPECTED_VALUE;
	memset(label->data, 'x', sizeof label->data);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	if (label_form[0]) snprintf(label->data, sizeof label->data, label_form, uuid->bytes[15]);
#pragma GCC diagnostic pop
	return enter(__func__);
}

static void answer(const char *what, uint32_t device, nscq_fn_t callback, void *data)
{
	struct uuid uuid = {.bytes = {[15] = (uint8_t)device}};
	if (!strcmp(what, "config/pcie_mode")) {
		((void (*)(const struct uuid *, nscq_rc_t, int8_t, void *))callback)(&uuid, answer_code, mode, data);
	} else if (!strcmp(what, "config/certificate")) {
		struct certificate certificate = chains[device];
		certificate.cert_chain_size += more;
		((void (*)(const struct uuid *, nscq_rc_t, struct certificate, void *))callback)(
			&uuid, answer_code, certificate, data);
	} else if (!strcmp(what, "config/attestation_report")) {
		struct report report = {0};
		report.report_size = (input_size == 32 && sign ? sign(device, input, report.report) : 0) + more;
		input_size = 0;
		((void (*)(const struct uuid *, nscq_rc_t, struct report, void *))callback)(
			&uuid, answer_code, report, data);
	}
}

nscq_rc_t nscq_session_path_observe(
	void *session, const char *path, nscq_fn_t callback, void *data, uint32_t flags)
{
	if (session != &sessions || flags) return UNEXPECTED_VALUE;
	pthread_mutex_lock(&lock);
	while (hanging) pthread_cond_wait(&released, &lock);
	pthread_mutex_unlock(&lock);
	if (enter(__func__)) return failure;
	if (!strcmp(path, "/drv/nvswitch/{device}/uuid")) {
		for (uint32_t i = 0; i < number_of_switches; i++) {
			struct uuid uuid = {.bytes = {[15] = (uint8_t)i}};
			((void (*)(const struct uuid *, nscq_rc_t, const struct uuid *, void *))callback)(
				&uuid, answer_code, &uuid, data);
		}
		return SUCCESS;
	}
	unsigned int device;
	char what[64];
	if (sscanf(path, "/SWX-0000000%u-0000/%63s", &device, what) != 2) return UNEXPECTED_VALUE;
	for (uint32_t i = 0; i < repeats; i++) answer(what, device, callback, data);
	return SUCCESS;
}
