import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { Command } from 'commander';
import { beforeEach, describe, expect, it, vi } from 'vitest';

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import { registerAuditReplay } from '../../src/cli/commands/audit-replay.ts';
import { registerAuditWhatIf } from '../../src/cli/commands/audit-what-if.ts';
import { encodeEntry, type LogEntry } from '../../src/governance/entries.ts';
import { makeStatement } from '../../src/governance/statements.ts';
import { formatVerifierKey } from '../../src/log/verifier-key.ts';
import { encodeStatement } from '../../src/platform/dsse.ts';
import { EvidenceStore } from '../../src/server/evidence-store.ts';
import { examplePredicates, predicateOf } from '../support/governance.ts';
import { withMadeLog } from '../support/made-log.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { ORIGIN, SUBJECT, TestServer } from '../support/release-server.ts';
import { PCRS } from '../support/software-attester.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const SLOW = 180_000;

interface Printed {
  /** Of the refusal, or `accepted`. */
  readonly code: string;
  readonly output: string;
  readonly remarks: string;
}

/** Runs a command in this process, as `weightgate audit` does. */
async function run(...args: readonly string[]): Promise<Printed> {
  const printed = { stdout: '', stderr: '' };
  const streams = (['stdout', 'stderr'] as const).map((name) =>
    vi.spyOn(process[name], 'write').mockImplementation((text) => {
      printed[name] += String(text);
      return true;
    }),
  );
  const audit = new Command().exitOverride();
  registerAuditReplay(audit);
  registerAuditWhatIf(audit);
  try {
    const code = await refusalCodeAsync(() => audit.parseAsync(args, { from: 'user' }));
    return { code, output: printed.stdout, remarks: printed.stderr };
  } finally {
    for (const stream of streams) stream.mockRestore();
  }
}

let server: TestServer;
let folder: string;
let profile: string;
let given: readonly string[];

async function write(name: string, content: unknown): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content instanceof Uint8Array ? content : encodeCanonicalJson(content as JsonValue));
  return path;
}

/** One grant and one refusal, and what an auditor is handed. */
beforeEach(async () => {
  server = await TestServer.createReady();
  const { attester, enrolling } = server.tpm;
  await enrol(server.agent(), enrolling);
  await requestRelease(server.agent(), SUBJECT, [attester]);
  const other = { ...SUBJECT, inferencePolicyDigest: '00'.repeat(32) };
  const refused = refusalCodeAsync(() => requestRelease(server.agent(), other, [attester]));
  expect(await refused).toBe('floor-inference-policy');
  folder = await temporaryFolder();
  profile = await write('profile.json', server.agent().profile);
  given = ['--profile', profile, '--folder', server.path, '--store', join(server.path, 'evidence')];
}, SLOW);

describe('weightgate audit replay', () => {
  it(
    'RD-5, RD-8: says of each decision that it is the same, and by which authorities',
    async () => {
      const { code, output, remarks } = await run('replay', ...given);
      expect(code).toBe('accepted');
      expect(output).toMatch(/^same {5} +\d+ .* granted {2}lab-one\nsame {5} +\d+ .* refused {2}lab-one\n$/);
      expect(remarks).toMatch(/^2 decisions rest on the authorities [0-9a-f]{64}:$/m);
      expect(remarks).toMatch(/^ {2}tpm\/vendor endorsements, simulated: certificate [0-9a-f]{64}$/m);
      expect(remarks).toContain('decisions: 2 same, 0 differs, 0 deleted, 0 missing, 0 unkept');
      const document = JSON.parse((await run('replay', ...given, '--json')).output) as Record<
        string,
        unknown
      >;
      expect(document).toMatchObject({
        version: 1,
        counts: { same: 2 },
        decisions: [{ verdict: 'same' }, {}],
      });
    },
    SLOW,
  );

  it(
    'RD-8: is not green where something is missing, and not where there is nothing',
    async () => {
      const database = new DatabaseSync(join(server.path, 'evidence', 'evidence.sqlite'));
      database.exec('DELETE FROM contents WHERE digest = (SELECT inputs FROM decisions LIMIT 1)');
      database.close();
      const { code, output } = await run('replay', ...given);
      expect([code, output.match(/^missing/gm)]).toEqual(['replay-incomplete', ['missing']]);
      const genesis = (await server.entries()).slice(0, 1);
      expect((await replayMade(genesis)).code).toBe('replay-incomplete');
    },
    SLOW,
  );

  it(
    'RD-8: names the decision of a server that lied',
    async () => {
      const entries = [...(await server.entries())];
      const last = entries.at(-1)!;
      if (last.type !== 'decision') throw new Error('the last entry is a decision');
      const lie = { ...last, refusals: [{ code: 'policy-refused', field: 'releasePolicy' }] };
      const { code, output } = await replayMade([...entries.slice(0, -1), lie]);
      expect(code).toBe('replay-differs');
      expect(output).toMatch(/^differs .* in refusals: derived again: refused \(floor-inference-policy\)/m);
    },
    SLOW,
  );

  /** The log as another could have made it, with the store of this server. */
  async function replayMade(entries: readonly LogEntry[]): Promise<Printed> {
    return await withMadeLog(ORIGIN, entries.map(encodeEntry), async ({ folder: made, trust }) => {
      const logKey = formatVerifierKey(trust.keys[0]!);
      const other = await write('made.json', { ...server.agent().profile, logKey });
      const store = join(server.path, 'evidence');
      return await run('replay', '--profile', other, '--folder', made, '--store', store);
    });
  }
});

describe('weightgate audit what-if', () => {
  it(
    'RD-12, RD-13: lists what a revocation touches, with the leases that run',
    async () => {
      const { code, output, remarks } = await run('what-if', ...given, '--revoke', 'machine=rack-1');
      expect(code).toBe('accepted');
      expect(output).toMatch(/^turns .* lab-one: granted -> refused \(floor-machine\); its lease runs$/m);
      expect(remarks).toMatch(
        /^2 decisions: 2 come out differently, 0 not known; 1 leases of these run at /m,
      );
      const later = await run(
        'what-if',
        ...given,
        '--revoke',
        'lab=lab-one',
        '--at',
        '2099-01-01T00:00:00Z',
        '--json',
      );
      expect(JSON.parse(later.output)).toMatchObject({ at: 4_070_908_800, turned: 2, running: 0 });
    },
    SLOW,
  );

  it(
    'RD-12: takes values and policies as documents and as statements',
    async () => {
      const good = server.tpm.software.inputs.referenceValues[0] as { readonly pcrs: object };
      const old = await write('old.json', good);
      const narrow = await write('narrow.json', { ...good, pcrs: { ...good.pcrs, 4: ['ff'.repeat(32)] } });
      expect((await run('what-if', ...given, '--reference', old, narrow)).output).toContain(
        'refused (tpm-pcr-value)',
      );
      const { releasePolicy } = examplePredicates;
      const cedar = '@id("never") forbid (principal, action, resource);';
      const tpm = { ...releasePolicy.tpm, pcrs: [...PCRS] };
      const predicate = predicateOf('release-policy/v1', { ...releasePolicy, epoch: 9, cedar, tpm });
      const statement = await write(
        'statement.json',
        encodeStatement(makeStatement('release-policy/v1', predicate)),
      );
      const stated = await run('what-if', ...given, '--policy', statement);
      expect(stated.output).toContain('granted -> refused (policy-refused)');
      const { cedar: _, statedAt: __, ...settings } = predicate;
      const settingsPath = await write('settings.yaml', settings);
      const cedarPath = await write('never.cedar', new TextEncoder().encode(cedar));
      expect((await run('what-if', ...given, '--policy', settingsPath, cedarPath)).output).toBe(
        stated.output,
      );
    },
    SLOW,
  );

  it(
    'RD-14, CL-5: refuses a change of nothing, and none at all',
    async () => {
      const asked = async (...args: readonly string[]) => (await run('what-if', ...given, ...args)).code;
      expect(await asked('--revoke', 'lab=lab-nine')).toBe('what-if-idle');
      expect(await asked('--revoke', 'authority=tpm/nobody')).toBe('what-if-idle');
      for (const wrong of [[], ['--revoke', 'lab'], ['--revoke', 'lab='], ['--revoke', 'planet=earth']]) {
        expect(await asked(...wrong)).toBe('argument-invalid');
      }
      expect(await asked('--reference', 'a', 'b', 'c')).toBe('argument-invalid');
    },
    SLOW,
  );

  it(
    'RD-13: is not green where a decision is not known',
    async () => {
      const empty = await temporaryFolder();
      EvidenceStore.open(empty, null).close();
      const place = ['--profile', profile, '--folder', server.path, '--store', empty];
      const { code, output } = await run('what-if', ...place, '--revoke', 'lab=lab-one');
      expect([code, output.match(/^open .* -> not known/gm)?.length]).toEqual(['what-if-open', 2]);
    },
    SLOW,
  );
});
