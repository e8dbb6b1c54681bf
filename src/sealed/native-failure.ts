/** What the compiled part reports by numbers, as refusals. */

import { getSystemErrorName } from 'node:util';

import { excerpt } from '../../attestation/core/bytes.ts';
import { memoryRefusals } from '../../native/memory/refusals.ts';
import { CHUNK_BYTES } from './layout.ts';
import { sealedEnvironment, sealedMalformed } from './refusals.ts';

/** @param errorNumber as in errno(3); 0 where the system named none */
export function errorName(errorNumber: number): string {
  return errorNumber > 0 ? getSystemErrorName(-errorNumber) : 'an error';
}

export function refuseRead(path: string, errorNumber: number): never {
  throw sealedEnvironment.error('sealed-not-readable', {
    field: excerpt(path),
    expected: 'a readable file',
    found: errorName(errorNumber),
  });
}

/** The file was as long as it should be when it was opened, and has been cut since. */
export function refuseShort(file: { readonly path: string; readonly bytes: number }, chunk: number): never {
  throw sealedMalformed.error('sealed-file-size', {
    field: excerpt(file.path),
    expected: `${file.bytes} bytes`,
    found: `the end of the file within ${CHUNK_BYTES} bytes of offset ${chunk * CHUNK_BYTES}`,
  });
}

export function refuseMemory(file: { readonly bytes: number }, errorNumber: number): never {
  throw memoryRefusals.error('memory-unavailable', {
    field: 'memory.write',
    expected: `${file.bytes} bytes`,
    found: errorName(errorNumber),
  });
}

export function refuseCipher(): never {
  throw memoryRefusals.error('memory-platform', {
    field: 'memory.aes-gcm',
    expected: 'OpenSSL to accept the call',
    found: 'a failure',
  });
}
