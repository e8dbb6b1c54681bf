import { createPrivateKey, createPublicKey, sign } from 'node:crypto';

import { concatBytes, fromHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { ed25519NoteSigner, type NoteSigner } from '../../src/log/note.ts';
import { sha256 } from '../../src/log/sha256.ts';

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
  return ed25519NoteSigner(name, {
    publicKey: new Uint8Array(publicKey),
    sign: (message) => Promise.resolve(new Uint8Array(sign(null, message, privateKey))),
  });
}
