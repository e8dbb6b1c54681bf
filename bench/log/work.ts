/** The log that is measured: who it is, and entries of the size of a decision. */

import { createPrivateKey, createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { join } from 'node:path';

import { ed25519NoteSigner, type NoteSigner } from '../../src/log/note.ts';

export const ORIGIN = 'bench.example/log';

/** PKCS #8, PEM. */
export function newLogKey(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
}

/** 32 bytes. */
export function publicKeyOf(privateKey: string): Uint8Array {
  const key = createPublicKey(createPrivateKey(privateKey));
  return Uint8Array.from(key.export({ format: 'der', type: 'spki' }).subarray(-32));
}

export function noteSignature(privateKey: string, message: Uint8Array): Promise<Uint8Array> {
  return Promise.resolve(Uint8Array.from(sign(null, message, createPrivateKey(privateKey))));
}

export function signerOf(privateKey: string): NoteSigner {
  return ed25519NoteSigner(ORIGIN, {
    publicKey: publicKeyOf(privateKey),
    sign: (message) => noteSignature(privateKey, message),
  });
}

/** No two are alike, as no two decisions are. */
export function entryOf(writer: number, index: number, bytes: number): Uint8Array {
  return Buffer.from(`{"writer":${writer},"index":${index}}`.padEnd(bytes, '.'));
}

export const POLL_MILLISECONDS = 5;

/** Made by a writer that has opened its log. */
export function readyFile(folder: string): string {
  return join(folder, 'ready');
}

/** What a process that measures itself reports. */
export interface Effort {
  readonly seconds: number;
  readonly processorSeconds: number;
  /** The most that was resident since the process began, in bytes. */
  readonly peakBytes: number;
}

const MICROSECOND = 1e-6;

export async function measured(work: () => Promise<void>): Promise<Effort> {
  const startedAt = performance.now();
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return {
    seconds: (performance.now() - startedAt) / 1000,
    processorSeconds: (user + system) * MICROSECOND,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  };
}
