/**
 * Keys for model signatures, in the files that the tools of OpenSSF Model Signing use: PKCS #8 in PEM, here always under
 * a passphrase (docs/spec/sealed-weights.md SW-63).
 */

import { createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';

import { readPem, writePem } from '../../attestation/core/pem.ts';
import { CURVE_HASHES, ecdsaPublicKey, ecdsaRefusals, type EcdsaSigner } from '../platform/ecdsa.ts';
import { keyIntegrityRefusals } from './refusals.ts';
import { readSecretBytes } from './secret-file.ts';

const LABEL = 'ENCRYPTED PRIVATE KEY';

/**
 * @throws RefusalError `key-file-exposed`, `key-passphrase-wrong`, `pem-malformed`, `ecdsa-key-unsupported`,
 *   `public-key-*`, `file-*`
 */
export async function openModelSigningKey(path: string, passphrase: string): Promise<EcdsaSigner> {
  const content = readPem(await readSecretBytes(path), LABEL, path);
  const privateKey = decrypt(writePem(content, LABEL), passphrase, path);
  if (privateKey.asymmetricKeyType !== 'ec') {
    throw ecdsaRefusals.error('ecdsa-key-unsupported', {
      field: path,
      expected: 'an EC key on P-256, P-384 or P-521',
      found: privateKey.asymmetricKeyType ?? 'another',
    });
  }
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  const publicKey = ecdsaPublicKey(new Uint8Array(spki), path);
  const hash = CURVE_HASHES[publicKey.key.curve];
  return {
    publicKey,
    sign: (message) => Promise.resolve(new Uint8Array(sign(hash, message, privateKey))),
  };
}

/** OpenSSL tells a wrong passphrase from a damaged file only by chance: both look like rubbish inside. */
function decrypt(pem: Uint8Array, passphrase: string, path: string): KeyObject {
  try {
    return createPrivateKey({ key: Buffer.from(pem), format: 'pem', passphrase });
  } catch (cause) {
    throw keyIntegrityRefusals.error(
      'key-passphrase-wrong',
      { field: path, expected: 'the passphrase of this file', found: 'another, or a damaged file' },
      { cause },
    );
  }
}
