/*
 * The ioctl interface of the Linux driver sev-guest, as far as a guest sees it, in front of a firmware that is told what
 * to answer. Addresses in a request are read and written as the kernel does it.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#define SNP_GET_REPORT 0xC0205300UL
#define SNP_GET_EXT_REPORT 0xC0205302UL
#define PAGE 4096
#define BLOB_MAX 0x4000
#define REPORT_BYTES 1184

struct request_envelope {
	uint8_t msg_version;
	uint64_t req_data;
	uint64_t resp_data;
	uint64_t exitinfo2;
};

struct report_request {
	uint8_t user_data[64];
	uint32_t vmpl;
	uint8_t rsvd[28];
};

struct extended_request {
	struct report_request data;
	uint64_t certs_address;
	uint32_t certs_len;
};

struct report_response {
	uint32_t status;
	uint32_t report_size;
	uint8_t rsvd[24];
	uint8_t report[REPORT_BYTES];
};

static uint8_t table[BLOB_MAX * 2];
static uint32_t table_bytes;
static uint32_t wanted_bytes;
static int knows_extended, busy_answers, calls;
static uint32_t firmware_error, host_error, status, report_size;

void driver_reset(void)
{
	table_bytes = wanted_bytes = firmware_error = host_error = status = 0;
	busy_answers = calls = 0;
	knows_extended = 1;
	report_size = REPORT_BYTES;
}

void driver_set_table(const uint8_t *bytes, uint32_t length, uint32_t wanted)
{
	memcpy(table, bytes, length);
	table_bytes = length;
	wanted_bytes = wanted;
}

void driver_set(int extended, int busy, uint32_t firmware, uint32_t host, uint32_t response_status, uint32_t size)
{
	knows_extended = extended;
	busy_answers = busy;
	firmware_error = firmware;
	host_error = host;
	status = response_status;
	report_size = size;
}

int driver_calls(void)
{
	return calls;
}

static int fail(struct request_envelope *envelope, uint32_t host, uint32_t firmware)
{
	envelope->exitinfo2 = ((uint64_t)host << 32) | firmware;
	errno = EIO;
	return -1;
}

static void answer(const struct report_request *request, struct request_envelope *envelope)
{
	struct report_response *response = (void *)(uintptr_t)envelope->resp_data;
	memset(response, 0, 4000);
	response->status = status;
	response->report_size = report_size;
	if (status != 0)
		return;
	response->report[0] = 3;
	memcpy(response->report + 0x50, request->user_data, sizeof(request->user_data));
}

int ioctl(int descriptor, unsigned long request, void *argument)
{
	struct request_envelope *envelope = argument;
	struct extended_request *asked = (void *)(uintptr_t)envelope->req_data;

	(void)descriptor;
	calls++;
	if (envelope->msg_version != 1)
		goto invalid;
	envelope->exitinfo2 = UINT64_MAX;
	if (request == SNP_GET_EXT_REPORT && !knows_extended) {
		errno = ENOTTY;
		return -1;
	}
	if (request != SNP_GET_REPORT && request != SNP_GET_EXT_REPORT)
		goto invalid;
	if (request == SNP_GET_EXT_REPORT && (asked->certs_len > BLOB_MAX || asked->certs_len % PAGE != 0))
		goto invalid;
	for (size_t i = 0; i < sizeof(asked->data.rsvd); i++)
		if (asked->data.rsvd[i] != 0)
			goto invalid;
	if (busy_answers > 0) {
		busy_answers--;
		return fail(envelope, 2, 0);
	}
	if (request == SNP_GET_EXT_REPORT && wanted_bytes > asked->certs_len) {
		asked->certs_len = wanted_bytes;
		return fail(envelope, 1, 0);
	}
	if (firmware_error != 0 || host_error != 0)
		return fail(envelope, host_error, firmware_error);
	envelope->exitinfo2 = 0;
	answer(&asked->data, envelope);
	if (request == SNP_GET_EXT_REPORT)
		memcpy((void *)(uintptr_t)asked->certs_address, table,
		       table_bytes < asked->certs_len ? table_bytes : asked->certs_len);
	return 0;

invalid:
	errno = EINVAL;
	return -1;
}
