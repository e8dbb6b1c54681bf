/** Verifier keys of signed notes: `name+identifier+base64(type, key)` (C2SP signed-note; TL-7). */

import {
  concatBytes,
  equalBytes,
  excerpt,
  fromBase64,
  fromHex,
  toBase64,
  toHex,
  toUtf8,
} from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { sha256 } from './sha256.ts';
import { verifyEcdsaP256, verifyEd25519Portably } from './signature.ts';

export const verifierKeyRefusals = defineRefusals('malformed', {
  'log-key-malformed': {
    means: 'A verifier key of a log is not one.',
    hint: 'Copy the whole line that the log publishes: name, eight hexadecimal digits and base64, joined by plus signs.',
  },
});

/** What a key signs with, and over what. */
export type KeyAlgorithm =
  'ed25519' | 'ecdsa-p256' | 'ed25519-cosignature' | 'rfc6962-tree-head' | 'ml-dsa-44-cosignature';

export interface VerifierKey {
  readonly name: string;
  /** Four bytes: a hint to find the key, far too short to name it. */
  readonly identifier: Uint8Array;
  readonly algorithm: KeyAlgorithm;
  /** As it stands after the type byte: raw, or SubjectPublicKeyInfo where the algorithm says so. */
  readonly publicKey: Uint8Array;
}

/** Everything up to the point in a P-256 SubjectPublicKeyInfo (RFC 5480). */
const P256_INFO_PREFIX = fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'p256.prefix');
const P256_INFO_BYTES = P256_INFO_PREFIX.length + 65;

interface AlgorithmRow {
  readonly type: number;
  readonly keyBytes: number;
  /** What is hashed into the identifier. */
  identified(name: Uint8Array, type: Uint8Array, publicKey: Uint8Array): Uint8Array;
}

const LINE_FEED = Uint8Array.of(0x0a);

const nameTypeKey: AlgorithmRow['identified'] = (name, type, publicKey) =>
  concatBytes(name, LINE_FEED, type, publicKey);

const ALGORITHMS: Readonly<Record<KeyAlgorithm, AlgorithmRow>> = {
  ed25519: { type: 0x01, keyBytes: 32, identified: nameTypeKey },
  'ecdsa-p256': {
    type: 0x02,
    keyBytes: P256_INFO_BYTES,
    identified: (_name, _type, publicKey) => publicKey,
  },
  'ed25519-cosignature': { type: 0x04, keyBytes: 32, identified: nameTypeKey },
  'rfc6962-tree-head': {
    type: 0x05,
    keyBytes: P256_INFO_BYTES,
    identified: (name, type, publicKey) => nameTypeKey(name, type, sha256(publicKey)),
  },
  'ml-dsa-44-cosignature': { type: 0x06, keyBytes: 1312, identified: nameTypeKey },
};

/** Whether a text can be the name of a key: not empty, no plus sign, no Unicode space, no control character. */
export function isKeyName(text: string): boolean {
  return text !== '' && text.isWellFormed() && !/[\p{White_Space}\p{Cc}+]/u.test(text);
}

/**
 * Reads a verifier key.
 *
 * @param text comes from the operator's configuration
 * @throws RefusalError `log-key-malformed`, `base64-malformed`, `hex-malformed`
 */
export function parseVerifierKey(text: string, field: string): VerifierKey {
  // The base64 may itself hold plus signs.
  const match = /^([^+]*)\+([^+]*)\+(.*)$/s.exec(text);
  const [, name = '', identifierText = '', encoded = ''] = match ?? [];
  if (match === null) refuse(field, 'name+identifier+base64', excerpt(text));
  const bytes = fromBase64(encoded, field);
  const algorithm = algorithmOf(bytes, field);
  const key = makeVerifierKey(name, algorithm, bytes.subarray(1));
  if (!equalBytes(key.identifier, fromHex(identifierText, field))) {
    refuse(field, `identifier ${toHex(key.identifier)}`, identifierText);
  }
  return key;
}

function algorithmOf(bytes: Uint8Array, field: string): KeyAlgorithm {
  const [type] = bytes;
  const name = (Object.keys(ALGORITHMS) as KeyAlgorithm[]).find((each) => ALGORITHMS[each].type === type);
  if (name === undefined) refuse(field, 'a known type of key', `type ${type ?? 'missing'}`);
  const { keyBytes } = ALGORITHMS[name];
  if (bytes.length !== 1 + keyBytes) refuse(field, `a key of ${keyBytes} bytes`, `${bytes.length - 1} bytes`);
  if (keyBytes === P256_INFO_BYTES && !equalBytes(bytes.subarray(1, 27), P256_INFO_PREFIX)) {
    refuse(field, 'a P-256 SubjectPublicKeyInfo', 'another structure');
  }
  return name;
}

/**
 * The verifier key of a public key.
 *
 * @param name of a log's key: the origin of the log (C2SP tlog-checkpoint)
 * @throws RefusalError `log-key-malformed` when the name cannot be that of a key
 */
export function makeVerifierKey(name: string, algorithm: KeyAlgorithm, publicKey: Uint8Array): VerifierKey {
  if (!isKeyName(name)) refuse('name', 'a name without spaces and plus signs', excerpt(name));
  const row = ALGORITHMS[algorithm];
  const digest = sha256(row.identified(toUtf8(name), Uint8Array.of(row.type), publicKey));
  return { name, identifier: digest.subarray(0, 4), algorithm, publicKey };
}

/** The line that operators publish and auditors pin. */
export function formatVerifierKey(key: VerifierKey): string {
  const typed = concatBytes(Uint8Array.of(ALGORITHMS[key.algorithm].type), key.publicKey);
  return `${key.name}+${toHex(key.identifier)}+${toBase64(typed)}`;
}

/** Whether the signatures of this key over whole note texts can be judged here; cosignatures sign something else. */
export function signsNotes(key: VerifierKey): boolean {
  return key.algorithm === 'ed25519' || key.algorithm === 'ecdsa-p256';
}

/** The uncompressed point of a key on P-256. */
export function pointOfKey({ publicKey }: VerifierKey): Uint8Array {
  return publicKey.subarray(P256_INFO_PREFIX.length);
}

/** @param text the text of the note, its last line feed included */
export async function verifyNoteSignature(
  key: VerifierKey,
  text: string,
  signature: Uint8Array,
): Promise<boolean> {
  switch (key.algorithm) {
    case 'ed25519':
      return await verifyEd25519Portably(key.publicKey, toUtf8(text), signature);
    case 'ecdsa-p256':
      return verifyEcdsaP256(pointOfKey(key), toUtf8(text), signature);
    case 'ed25519-cosignature':
    case 'rfc6962-tree-head':
    case 'ml-dsa-44-cosignature':
      return false;
  }
}

function refuse(field: string, expected: string, found: string): never {
  throw verifierKeyRefusals.error('log-key-malformed', { field, expected, found });
}
