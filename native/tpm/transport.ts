/**
 * A TPM transport carries whole commands and whole responses and knows nothing of what they say. Everything that
 * comes back is outside input: the machine's owner, or somebody on the bus, may control it.
 */

import type { RefusalError } from '../../attestation/core/refusal.ts';
import { tpmFrameRefusals } from './refusals.ts';

export interface TpmTransport {
  /** Where it leads, for messages: the TCTI text that opened it. */
  readonly address: string;
  /**
   * Sends one command and returns its response, both with their headers. Commands of one transport never overlap.
   *
   * @param timeoutSeconds instead of the limit with which the transport was opened
   * @throws RefusalError `tpm-timeout`, `tpm-connection-lost`, `tpm-unreachable`, `tpm-closed`, `tpm-response-malformed`
   */
  transmit(command: Uint8Array, timeoutSeconds?: number): Promise<Uint8Array>;
  /** Ends the connection, also in the middle of a command. Loaded objects stay in the TPM: flush them before. */
  close(): Promise<void>;
}

/** A response header: tag (2 bytes), size (4 bytes), response code (4 bytes). TPM 2.0 Part 1, section 18. */
export const RESPONSE_HEADER_BYTES = 10;

/** No TPM sends more (TPM2_PT_MAX_RESPONSE_SIZE is 4096 where it is largest). */
export const MAX_RESPONSE_BYTES = 4096;

/** The size that the header of a response announces. @throws RefusalError `tpm-response-malformed` */
export function announcedBytes(response: Uint8Array): number {
  const size = new DataView(response.buffer, response.byteOffset, RESPONSE_HEADER_BYTES).getUint32(2);
  if (size < RESPONSE_HEADER_BYTES || size > MAX_RESPONSE_BYTES) {
    throw tpmFrameRefusals.error('tpm-response-malformed', {
      field: 'response.size',
      expected: `${RESPONSE_HEADER_BYTES} to ${MAX_RESPONSE_BYTES}`,
      found: String(size),
    });
  }
  return size;
}

/** Returns the response when it is exactly as long as its header says. @throws RefusalError `tpm-response-malformed` */
export function wholeResponse(response: Uint8Array): Uint8Array {
  if (response.length < RESPONSE_HEADER_BYTES) {
    throw tpmFrameRefusals.error('tpm-response-malformed', {
      field: 'response',
      expected: `at least ${RESPONSE_HEADER_BYTES} bytes`,
      found: `${response.length} bytes`,
    });
  }
  const announced = announcedBytes(response);
  if (announced !== response.length) {
    throw tpmFrameRefusals.error('tpm-response-malformed', {
      field: 'response',
      expected: `the ${announced} bytes that its header announces`,
      found: `${response.length} bytes`,
    });
  }
  return response;
}

/** Runs tasks one after another, in the order in which they came; a failed task does not stop those behind it. */
export class TaskQueue {
  private last: Promise<unknown> = Promise.resolve();

  run<T>(task: () => Promise<T>): Promise<T> {
    const result = this.last.then(task, task);
    this.last = result.catch(() => undefined);
    return result;
  }
}

/** Waits for `work`, but no longer than `seconds`; `work` itself goes on. @throws what `late` makes */
export async function within<T>(work: Promise<T>, seconds: number, late: () => RefusalError): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(late());
    }, seconds * 1000);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
