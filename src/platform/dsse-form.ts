/** What of DSSE and of statements needs nothing of Node: verifiers that run in browsers stand on it too. */

import { z } from 'zod';

import { concatBytes, toUtf8 } from '../../attestation/core/bytes.ts';

/** DSSE pre-authentication encoding (secure-systems-lab/dsse, protocol.md). Lengths count bytes, not characters. */
export function preAuthenticationEncoding(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = toUtf8(payloadType);
  const space = toUtf8(' ');
  return concatBytes(toUtf8(`DSSEv1 ${type.length} `), type, space, toUtf8(`${payload.length} `), payload);
}

/** A digest in JSON: lower-case hex SHA-256. */
export const sha256HexSchema = z.string().regex(/^[0-9a-f]{64}$/);
