import { createPrivateKey, createPublicKey, sign } from 'node:crypto';

import { concatBytes, fromHex, toUtf8 } from '../../attestation/core/bytes.ts';
import type { NoteSigner } from '../../src/log/note.ts';
import { sha256 } from '../../src/log/sha256.ts';
import { makeVerifierKey } from '../../src/log/verifier-key.ts';

/** A key that follows from its name, as the keys of the shared vectors do. */
export function testSigner(name: string): NoteSigner {
  const seed = sha256(toUtf8(`tlog-vectors/${name}`));
  const prefix = fromHex('302e020100300506032b657004220420', 'prefix');
  const privateKey = createPrivateKey({
    key: Buffer.from(concatBytes(prefix, seed)),
    format: 'der',
    type: 'pkcs8',
  });
  const publicKey = createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-32);
  return {
    key: makeVerifierKey(name, 'ed25519', new Uint8Array(publicKey)),
    sign: (message) => Promise.resolve(new Uint8Array(sign(null, message, privateKey))),
  };
}
