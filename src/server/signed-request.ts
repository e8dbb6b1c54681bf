/** Requests that a lab signs: who is held to what they say (docs/spec/release-protocol.md, RP-8, RP-16). */

import { createHash } from 'node:crypto';

import type { z } from 'zod';

import { excerpt, fromBase64 } from '../../attestation/core/bytes.ts';
import { decodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { GovernanceState } from '../governance/state.ts';
import { decodeEnvelope, dsseRefusals, keyIdOf, verifyEnvelope, type Envelope } from '../platform/dsse.ts';
import { readShape } from '../platform/shape.ts';
import { requestRefusals } from './refusals.ts';

/** A request whose form was checked and whose signature was not. */
export interface ClaimedRequest<Message> {
  readonly envelope: Envelope;
  readonly message: Message;
  /** Lower-case hex SHA-256 of the payload. */
  readonly payloadDigest: string;
}

/**
 * Reads the form of a signed request; who signed it is still open.
 *
 * @param body from the network
 * @throws RefusalError `json-*`, `utf8-malformed`, `base64-malformed`, `shape-mismatch`, `dsse-payload-type`,
 *   `request-signature`
 */
export function readSignedRequest<Message>(
  body: Uint8Array,
  payloadType: string,
  schema: z.ZodType<Message>,
  maxBytes: number,
): ClaimedRequest<Message> {
  const envelope = decodeEnvelope(body, { maxBytes }, 'request');
  if (envelope.payloadType !== payloadType) {
    const facts = {
      field: 'request.payloadType',
      expected: payloadType,
      found: excerpt(envelope.payloadType),
    };
    throw dsseRefusals.error('dsse-payload-type', facts);
  }
  refuseOtherThanOneSignature(envelope);
  const message = readShape(
    schema,
    decodeCanonicalJson(envelope.payload, { maxBytes }, 'request'),
    'request',
  );
  const payloadDigest = createHash('sha256').update(envelope.payload).digest('hex');
  return { envelope, message, payloadDigest };
}

/** Verifying costs a signature times a key: a request with many signatures is work for nothing. */
function refuseOtherThanOneSignature({ signatures }: Envelope): void {
  if (signatures.length === 1) return;
  const facts = { field: 'request.signatures', expected: 'one signature', found: String(signatures.length) };
  throw requestRefusals.error('request-signature', facts);
}

/**
 * Holds a lab to a request. A lab whose accreditation has ended is still held to what it signs; that it gets nothing
 * is for the floors to say.
 *
 * @throws RefusalError `request-signature`
 */
export function verifyLabSignature(
  state: GovernanceState,
  request: ClaimedRequest<{ readonly lab: string }>,
): void {
  const { lab } = request.message;
  const accredited = state.labs.get(lab)?.accreditation.publicKeys ?? [];
  const keys = accredited.map((key) => fromBase64(key, 'accreditation.publicKeys'));
  try {
    verifyEnvelope(request.envelope, keys.filter(isNamedIn(request.envelope)), 1, 'request');
  } catch (cause) {
    if (!isRefusal(cause)) throw cause;
    const expected = `a signature by one of the ${keys.length} keys of ${excerpt(lab)}`;
    const facts = { field: 'request.signatures', expected, found: 'none that holds' };
    throw requestRefusals.error('request-signature', facts, { cause });
  }
}

/** Where the signature names a key, no other is tried: what is said of the key is true, too, of what is accepted. */
function isNamedIn({ signatures }: Envelope): (key: Uint8Array) => boolean {
  const keyid = signatures[0]?.keyid;
  return (key) => keyid === undefined || keyid === keyIdOf(key);
}
