/** The keys of the worked example, for tests and for the programs that they start. */

import { createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';

import { KeyMemory } from '../../native/memory/key-memory.ts';
import type { Ed25519Signer } from '../../src/platform/ed25519.ts';

export function countingBytes(first: number): Uint8Array {
  return Uint8Array.from({ length: 32 }, (_, i) => first + i);
}

/** The keys of the worked example of the specification. */
export const MODEL_KEY = countingBytes(0x00);
export const SALT = countingBytes(0x20);
export const MODEL = { name: 'example', version: '1', variant: 'base' };
export const privateKey: KeyObject = createPrivateKey({
  key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), countingBytes(0x40)]),
  format: 'der',
  type: 'pkcs8',
});
export const publicKey = createPublicKey(privateKey);

export const signer: Ed25519Signer = {
  publicKey: Uint8Array.from(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)),
  sign: (message) => Promise.resolve(new Uint8Array(sign(null, message, privateKey))),
};
export const TRUST = { signers: { publicKeys: [signer.publicKey], threshold: 1 } };

/** A new memory with the model key; the caller closes it. */
export function modelKeyMemory(): KeyMemory {
  return KeyMemory.take(Uint8Array.from(MODEL_KEY));
}
