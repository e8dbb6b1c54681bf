/** A small bundle, and what the tests of sources need around it. */

import { onTestFinished } from 'vitest';

import { SealedBundle, type UnlockedBundle } from '../../../src/sealed/reader.ts';
import { HttpSource } from '../../../src/sealed/source/http-source.ts';
import type { MirrorOptions } from '../../../src/sealed/source/mirror.ts';
import { startRangeServer, type RangeServer } from '../../support/range-server.ts';
import { deterministicBytes, modelKeyMemory, specificationInput, TRUST } from '../fixtures.ts';
import { sealBySpecification } from '../second-implementation.ts';

export const CHUNK = 4 * 1024 * 1024;
export const WEIGHTS = 'weights/größe #1 (a).bin';

export const plaintext = new Map<string, Uint8Array>([
  ['config.json', Buffer.from('{}\n')],
  ['empty', new Uint8Array()],
  [WEIGHTS, deterministicBytes(CHUNK + 77_777, 'weights')],
]);

/** The files of the bundle. */
export const sealed = sealBySpecification(specificationInput(plaintext));

/** Limits at which a test does not wait. */
export const HASTE = {
  retry: { tries: 4, pauseMilliseconds: 1, longestPauseMilliseconds: 4, longestRetryAfterSeconds: 2 },
  // A busy machine is slow too: only tests of stalls take a short window.
  stall: { windowMilliseconds: 20_000, leastBytes: 1024 },
} satisfies MirrorOptions;

/** The bundle on a mirror, under a folder. */
export async function startMirror(): Promise<RangeServer> {
  return await startRangeServer(new Map([...sealed].map(([path, bytes]) => [`pub/${path}`, bytes])));
}

export function sourceAt(server: RangeServer, options: MirrorOptions = {}): HttpSource {
  return new HttpSource(`${server.origin}/pub`, { ...HASTE, ...options });
}

/** The bundle of a mirror, opened before any fault; its keys go with the test. */
export async function unlockAt(
  server: RangeServer,
  options: MirrorOptions = {},
): Promise<{ readonly bundle: SealedBundle; readonly unlocked: UnlockedBundle }> {
  const bundle = await SealedBundle.open(sourceAt(server, options), TRUST);
  const modelKey = modelKeyMemory();
  const unlocked = bundle.unlock(modelKey);
  modelKey.close();
  onTestFinished(() => {
    unlocked.close();
  });
  return { bundle, unlocked };
}

/** All plaintext of the bundle, by random access. */
export async function readAll(unlocked: UnlockedBundle): Promise<ReadonlyMap<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for (const [path, { length }] of plaintext) files.set(path, await unlocked.readAt(path, 0, length));
  return files;
}
