import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { afterAll, describe, expect, it } from 'vitest';

import { fromUtf8, toBase64 } from '../../attestation/core/bytes.ts';
import { openCheckpoint } from '../../src/log/checkpoint.ts';
import { createReleaseLog, openReleaseLog } from '../../src/log/log-folder.ts';
import { auditLog } from '../../src/log/reader.ts';
import { publishedSource } from '../../src/log/sources.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { testSigner } from './test-signer.ts';

const ROUNDS = 10;
const folder = mkdtempSync(join(tmpdir(), 'weightgate-crash-'));
afterAll(() => {
  rmSync(folder, { recursive: true });
});
const signer = testSigner('log.example/evaluation');
const identity = { origin: signer.key.name, signers: [signer] };
const trust = { origin: identity.origin, keys: [signer.key] };

interface Answer {
  readonly checkpoint: string;
  readonly index?: string;
  readonly entry?: string;
}

/** Runs the appending child and kills it after so many milliseconds of appending. */
async function appendAndKill(round: number, milliseconds: number): Promise<Answer[]> {
  const program = join(import.meta.dirname, 'append-until-killed.ts');
  const child = spawn(process.execPath, [program, folder, round.toString()], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  let started: (() => void) | undefined;
  const running = new Promise<void>((resolve) => (started = resolve));
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    output += chunk;
    started?.();
  });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => {
    child.on('close', (_code, signal) => {
      resolve(signal);
    });
  });
  await Promise.race([running, ended]);
  await delay(milliseconds);
  // Another process: the lock must hold across processes as long as the child lives, and no longer.
  expect(await refusalCodeAsync(() => openReleaseLog(folder, identity))).toBe('log-locked');
  child.kill('SIGKILL');
  expect(await ended).toBe('SIGKILL');
  // The last line may have been cut; only what was written whole was acknowledged.
  return output
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Answer);
}

describe('kill -9 while appending', () => {
  it('TL-16, TL-17, TL-19, TL-23: loses nothing that was acknowledged and signs one root for each size', async () => {
    await (await createReleaseLog(folder, identity)).close();
    const acknowledged = new Map<string, string>();
    const rootBySize = new Map<string, string>();
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const answer of await appendAndKill(round, Math.floor(Math.random() * 150))) {
        const { size, root } = await openCheckpoint(answer.checkpoint, trust);
        const seen = rootBySize.get(size.toString());
        expect(seen ?? toBase64(root)).toBe(toBase64(root));
        rootBySize.set(size.toString(), toBase64(root));
        if (answer.index === undefined || answer.entry === undefined) continue;
        expect(acknowledged.has(answer.index)).toBe(false);
        acknowledged.set(answer.index, answer.entry);
      }
    }
    expect(acknowledged.size).toBeGreaterThan(ROUNDS);

    const log = await openReleaseLog(folder, identity);
    const stored = new Map<string, string>();
    await auditLog(
      publishedSource(log),
      trust,
      { minimumSize: BigInt(acknowledged.size) },
      (entry, index) => {
        stored.set(index.toString(), fromUtf8(entry, 'entry'));
      },
    );
    for (const [index, entry] of acknowledged) expect(stored.get(index)).toBe(entry);
    await log.close();
  }, 120_000);
});
