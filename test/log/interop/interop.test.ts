import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import { toBase64, toUtf8 } from '../../../attestation/core/bytes.ts';
import { createReleaseLog } from '../../../src/log/log-folder.ts';
import { formatVerifierKey } from '../../../src/log/verifier-key.ts';
import { testSigner } from '../test-signer.ts';

const environment = { ...process.env, GOPROXY: 'off', GOFLAGS: '-mod=readonly' };
const options = { cwd: import.meta.dirname, env: environment, encoding: 'utf8' } as const;
/** Go and its module are on this machine (`go mod download` in this folder); elsewhere the test shows as skipped. */
const available = spawnSync('go', ['vet', '.'], options).status === 0;
const FIRST = 301;
const SECOND = 777;

describe.skipIf(!available)('golang.org/x/mod (needs Go and its downloaded module)', () => {
  it('TL-1, TL-6, TL-9, TL-14: opens our checkpoints and verifies our proofs', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'weightgate-interop-'));
    onTestFinished(() => {
      rmSync(folder, { recursive: true });
    });
    const signer = testSigner('log.example/evaluation');
    const log = await createReleaseLog(folder, { origin: signer.key.name, signers: [signer] });
    const entries = Array.from({ length: SECOND }, (_, i) => `entry ${i}`);
    await Promise.all(entries.slice(0, FIRST).map((entry) => log.append(toUtf8(entry))));
    const first = log.published.checkpoint;
    await Promise.all(entries.slice(FIRST).map((entry) => log.append(toUtf8(entry))));
    const second = log.published.checkpoint;
    const document = {
      VerifierKey: formatVerifierKey(signer.key),
      Entries: await Promise.all(
        entries.map(async (entry, i) => ({
          Index: i,
          Entry: entry,
          Proof: await log.published.inclusionProof(BigInt(i)),
        })),
      ),
      First: first.note,
      Second: second.note,
      Consistency: (await log.published.consistencyProof(first.size, second.size)).map(toBase64),
    };
    await log.close();
    const path = join(folder, 'document.json');
    writeFileSync(path, JSON.stringify(document));
    const output = execFileSync('go', ['run', '.', path], options);
    expect(output).toBe(`${SECOND} proofs verified\n`);
  });
});
