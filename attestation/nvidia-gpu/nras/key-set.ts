/**
 * The keys of the service: a JSON Web Key Set (RFC 7517) in which each key carries the certificates that vouch for it. The set
 * may come from anywhere: a key counts only if its certificate leads to an anchor for attestation results.
 */

import { equalBytes } from '../../core/bytes.ts';
import type { CertificateMemory } from '../../core/certificate-memory.ts';
import { recallCertificate, verifyCertificatePath } from '../../core/certificate-path.ts';
import type { TrustAnchor } from '../../core/certificate-path.ts';
import { base64Shape, listShape, literalShape, objectShape, textShape } from '../../core/json-shape.ts';
import type { Shape, ShapeValue } from '../../core/json-shape.ts';
import { readSubjectPublicKeyInfo } from '../../core/public-key.ts';
import type { EcPublicKey } from '../../core/public-key.ts';
import { defineRefusals, isRefusal } from '../../core/refusal.ts';
import { ExtensionId, KeyUsage } from '../../core/x509.ts';
import type { Certificate } from '../../core/x509.ts';
import { fromBase64Url, openShape, readNrasJson } from './format.ts';

export const nrasKeyRefusals = defineRefusals('inauthentic', {
  'nras-key-unknown': {
    means: 'A token names a key that the key set does not have exactly once.',
    hint: 'Fetch the key set of the service anew: it changes its keys every other day.',
  },
  'nras-key-certificate': {
    means: 'A key of the key set has no certificate, or one of another key.',
    hint: 'Somebody may have put a key of his own into the key set: fetch it from the service itself.',
  },
});

/** Far above the 36 keys that have been seen, each of about 2.6 KiB. */
const MAX_KEY_SET_BYTES = 256 * 1024;
const MAX_KEYS = 64;
const MAX_CERTIFICATES = 4;
const MAX_CERTIFICATE_BYTES = 8 * 1024;

const coordinateShape: Shape<Uint8Array> = (value, path) => {
  const text = textShape({ pattern: /^[A-Za-z0-9_-]{64}$/ })(value, path);
  return fromBase64Url(text, path);
};

const keyShape = openShape(
  {
    kty: literalShape('EC'),
    crv: literalShape('P-384'),
    kid: textShape({ pattern: /^[A-Za-z0-9._-]{1,128}$/ }),
    x: coordinateShape,
    y: coordinateShape,
  },
  {
    x5c: listShape(
      { minItems: 1, maxItems: MAX_CERTIFICATES },
      base64Shape({ maxBytes: MAX_CERTIFICATE_BYTES }),
    ),
    use: literalShape('sig'),
    alg: literalShape('ES384'),
  },
);
const keySetShape = objectShape({ keys: listShape({ minItems: 1, maxItems: MAX_KEYS }, keyShape) });

export type ClaimedKey = ShapeValue<typeof keyShape>;
export type ClaimedKeySet = ShapeValue<typeof keySetShape>;

/** @throws RefusalError `nras-malformed`, `nras-size`, `shape-*`, `base64-malformed` */
export function readKeySet(bytes: Uint8Array, field: string): ClaimedKeySet {
  return keySetShape(readNrasJson(bytes, MAX_KEY_SET_BYTES, field), field);
}

/** A key that may sign tokens. */
export interface TokenKey {
  readonly publicKey: EcPublicKey;
  /** Whether it vouches for simulated hardware: follows from the anchor (W9). */
  readonly simulated: boolean;
}

/** Which key has an identifier. @throws RefusalError when none may be used */
export type KeyFinder = (keyId: string, field: string) => Promise<TokenKey>;

export interface KeySetInputs {
  readonly anchors: readonly TrustAnchor[];
  /** POSIX seconds. */
  readonly time: number;
  /** Makes it faster and decides nothing. */
  readonly memory?: CertificateMemory | undefined;
}

/**
 * Finds keys that their certificates vouch for.
 *
 * @returns a finder that throws RefusalError `nras-key-unknown`, `nras-key-certificate`, `path-*`, `der-*`,
 *   `certificate-*`, `public-key-*`
 */
export function certifiedKeys({ keys }: ClaimedKeySet, inputs: KeySetInputs): KeyFinder {
  return async (keyId, field) => {
    const [key, ...more] = keys.filter(({ kid }) => kid === keyId);
    if (key === undefined || more.length > 0) {
      const found = key === undefined ? `none called ${keyId}` : `${more.length + 1} called ${keyId}`;
      throw nrasKeyRefusals.error('nras-key-unknown', { field, expected: 'one key', found });
    }
    return await certifiedKey(key, inputs, field);
  };
}

/**
 * Demands of a whole key set that it is the service's: that at least one key may be used now. The others may have expired,
 * or be of another authority; each is judged when a token names it.
 *
 * @throws RefusalError as {@link certifiedKeys}, for the last key
 */
export async function verifyKeySet(
  keySet: ClaimedKeySet,
  inputs: KeySetInputs,
  field: string,
): Promise<void> {
  const find = certifiedKeys(keySet, inputs);
  let failure: unknown;
  for (const { kid } of keySet.keys) {
    try {
      await find(kid, field);
      return;
    } catch (error) {
      if (!isRefusal(error)) throw error;
      failure = error;
    }
  }
  throw failure;
}

async function certifiedKey(key: ClaimedKey, inputs: KeySetInputs, field: string): Promise<TokenKey> {
  const [first, ...intermediates] = key.x5c ?? [];
  if (first === undefined) throw badCertificate(field, 'a certificate of the key', 'none');
  const leaf = recallCertificate(first, `${field}.x5c[0]`, inputs.memory);
  const publicKey = keyOf(leaf, field);
  if (!equalBytes(publicKey.x, key.x) || !equalBytes(publicKey.y, key.y)) {
    throw badCertificate(field, 'a certificate of this key', 'the certificate of another');
  }
  if (leaf.isAuthority || leaf.keyUsage?.has(KeyUsage.digitalSignature) !== true) {
    throw badCertificate(field, 'a certificate for signing', 'one for something else');
  }
  const anchor = await verifyCertificatePath(leaf, {
    ...inputs,
    intermediates,
    purpose: 'attestation-results',
    validity: 'enforce',
    understoodLeafExtensions: [ExtensionId.extendedKeyUsage],
  });
  return { publicKey, simulated: anchor.simulated };
}

function keyOf({ subjectPublicKeyInfo }: Certificate, field: string): EcPublicKey {
  const key = readSubjectPublicKeyInfo(subjectPublicKeyInfo, `${field}.x5c[0].publicKey`);
  if (key.type === 'ec' && key.curve === 'P-384') return key;
  throw badCertificate(field, 'a key on P-384', key.type === 'ec' ? key.curve : key.type);
}

function badCertificate(field: string, expected: string, found: string): Error {
  return nrasKeyRefusals.error('nras-key-certificate', { field, expected, found });
}

/** A finder over keys that the caller trusts as they are, by identifier: no certificate is looked at. */
export function givenKeys(keys: ReadonlyMap<string, TokenKey>): KeyFinder {
  return (keyId, field) => {
    const key = keys.get(keyId);
    if (key !== undefined) return Promise.resolve(key);
    const facts = { field, expected: 'one key', found: `none called ${keyId}` };
    return Promise.reject(nrasKeyRefusals.error('nras-key-unknown', facts));
  };
}

/** The public key of a JSON Web Key, for {@link givenKeys}. */
export function publicKeyOf({ x, y }: ClaimedKey): EcPublicKey {
  return { type: 'ec', curve: 'P-384', x, y };
}
