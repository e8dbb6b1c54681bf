/**
 * The logs of what was measured into the TPM, as the kernel shows them (docs/spec/tpm-boot.md, BC-3). They are
 * files of securityfs: only root reads them, and their size is known only when they were read.
 */

import { constants, open } from 'node:fs/promises';

import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { MAX_LOG_BYTES } from '../../../attestation/tpm/evidence.ts';

export const measurementLogRefusals = defineRefusals('environment', {
  'tpm-event-log-missing': {
    means: 'The server asks for the boot event log, and there is none to read.',
    hint: 'Run as root on a machine that was started by UEFI with its TPM on; name another file with --tpm-event-log.',
  },
  'tpm-ima-list-missing': {
    means: 'The server asks for the files that the kernel measured, and there is no list to read.',
    hint: 'Run as root on a kernel with IMA and a policy that measures (ima_policy=tcb); name another file with --tpm-ima-list.',
  },
  'tpm-log-too-large': {
    means: 'A log of what was measured is larger than evidence may carry.',
    hint: 'Measure less by the IMA policy, or boot the machine again; the list grows until then.',
  },
});

/** Paths of the logs. */
export interface LogFiles {
  readonly eventLog: string;
  readonly imaList: string;
}

export const ORDINARY_LOG_FILES: LogFiles = {
  eventLog: '/sys/kernel/security/tpm0/binary_bios_measurements',
  imaList: '/sys/kernel/security/ima/binary_runtime_measurements',
};

/** @throws RefusalError `tpm-event-log-missing`, `tpm-log-too-large` */
export function readEventLogOf({ eventLog }: LogFiles): Promise<Uint8Array> {
  return readLog(eventLog, MAX_LOG_BYTES.eventLog, 'tpm-event-log-missing');
}

/** @throws RefusalError `tpm-ima-list-missing`, `tpm-log-too-large` */
export function readImaListOf({ imaList }: LogFiles): Promise<Uint8Array> {
  return readLog(imaList, MAX_LOG_BYTES.imaList, 'tpm-ima-list-missing');
}

type MissingCode = 'tpm-event-log-missing' | 'tpm-ima-list-missing';

async function readLog(path: string, maxBytes: number, missing: MissingCode): Promise<Uint8Array> {
  const bytes = await readToLimit(path, maxBytes).catch((cause: unknown) => {
    const found = cause instanceof Error && 'code' in cause ? String(cause.code) : 'an error';
    throw measurementLogRefusals.error(missing, { field: path, expected: 'a log', found }, { cause });
  });
  // Where the firmware kept no log the kernel shows an empty file.
  if (bytes.length === 0) {
    throw measurementLogRefusals.error(missing, { field: path, expected: 'a log', found: 'an empty file' });
  }
  if (bytes.length <= maxBytes) return bytes;
  const expected = `at most ${maxBytes} bytes`;
  throw measurementLogRefusals.error('tpm-log-too-large', { field: path, expected, found: 'more' });
}

/** The file, or one byte more than the limit: securityfs states no sizes. */
async function readToLimit(path: string, maxBytes: number): Promise<Uint8Array> {
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const bytes = new Uint8Array(maxBytes + 1);
    let length = 0;
    while (length < bytes.length) {
      const { bytesRead } = await file.read(bytes, length, bytes.length - length, null);
      if (bytesRead === 0) break;
      length += bytesRead;
    }
    return bytes.slice(0, length);
  } finally {
    await file.close();
  }
}
