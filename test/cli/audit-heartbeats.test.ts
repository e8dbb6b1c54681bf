/** What an audit says of the life of a server. */

import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { encodeEntry, type LogEntry } from '../../src/governance/entries.ts';
import { createReleaseLog } from '../../src/log/log-folder.ts';
import { formatVerifierKey } from '../../src/log/verifier-key.ts';
import { writeServerProfile } from '../../src/platform/server-profile.ts';
import { testSigner } from '../log/test-signer.ts';
import { runCommand } from '../support/command-line.ts';
import { exampleGenesis, examplePredicates, START } from '../support/governance.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const signer = testSigner('example.org/evaluation');
const logKey = formatVerifierKey(signer.key);

/** Heartbeats of one run, at these times. */
function heartbeats(...times: readonly number[]): readonly LogEntry[] {
  return times.map((at, i) => ({
    version: 1,
    type: 'heartbeat',
    at,
    previous: i === 0 ? null : i,
    run: '0a'.repeat(16),
    startedAt: START,
    countedFrom: times[i - 1] ?? START,
    intervalSeconds: 3600,
    serverBuild: 'weightgate/1',
    decisions: { granted: 0, refused: 0 },
    pendingStatements: 0,
    handedOut: { challenges: 2, enrolments: 1 },
    refusals: [{ code: 'route-unknown', count: 5 }],
    witnessed: { size: 1, at },
  }));
}

async function audit(entries: readonly LogEntry[]) {
  const folder = await temporaryFolder();
  const log = await createReleaseLog(folder, { origin: signer.key.name, signers: [signer] });
  const { origin, mode, ...genesis } = exampleGenesis();
  for (const entry of [{ ...genesis, origin, mode, logKey }, ...entries])
    await log.append(encodeEntry(entry));
  await log.close();
  const profile = join(folder, 'profile.json');
  await writeServerProfile(profile, {
    version: 1,
    address: 'https://127.0.0.1:1',
    authorityCertificate: 'none is asked',
    origin,
    mode,
    logKey,
    bundleSigners: [examplePredicates.accreditation.publicKeys[0]],
  });
  return await runCommand('audit', '--profile', profile, '--folder', folder);
}

describe('an audit of a log with heartbeats', () => {
  it('GV-87: shows what each counted, the silence before one, and the longest time between two', async () => {
    const { exitCode, output, errors } = await audit(heartbeats(START, START + 3600, START + 20_000));
    expect([exitCode, output.split('\n').length]).toEqual([0, 5]);
    const counted =
      'heartbeat  run 0a0a0a0a: weightgate/1, 0 granted, 0 refused, 2 challenges, 1 enrolments begun, ' +
      '5 requests refused without an entry (route-unknown 5), 0 statements pending, witnessed up to 1';
    const lines = output.split('\n').map((line) => line.slice(30));
    expect(lines.slice(1, 4)).toEqual([counted, counted, `${counted} -> no heartbeat for 16400 s before`]);
    const until = `${new Date((START + 20_000) * 1000).toISOString().slice(0, 19)}Z`;
    expect(errors).toContain(
      `heartbeats: the newest ${until}, the longest time between two 16400 s, until ${until}\n`,
    );
  });

  it('GV-87: says where a log has none', async () => {
    const { exitCode, errors } = await audit([]);
    expect(exitCode).toBe(0);
    expect(errors).toContain('no heartbeats: when no server wrote to this log cannot be told\n');
  });
});
