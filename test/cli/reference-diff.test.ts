import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import type { ReferenceImpact } from '../../src/audit/reference-decisions.ts';
import { differences } from '../../src/cli/reference-difference.ts';
import { makeStatement } from '../../src/governance/statements.ts';
import { encodeStatement } from '../../src/platform/dsse.ts';
import { runCommand } from '../support/command-line.ts';
import { examplePredicates, predicateOf } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { SUBJECT, TestServer } from '../support/release-server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const SLOW = 60_000;

interface TpmDocument {
  readonly pcrs: Readonly<Record<string, readonly string[]>>;
}

describe('differences of reference documents', () => {
  it('are told by member, and for lists of plain values as sets', () => {
    const old = { a: 1, b: { c: ['x', 'y'] }, d: [{ e: 1 }], f: 2 };
    const next = { a: 1, b: { c: ['z', 'y'] }, d: [{ e: 2 }, { e: 3 }], g: null };
    expect(differences(old, next)).toEqual([
      { path: 'b.c', change: 'removed', old: 'x', new: null },
      { path: 'b.c', change: 'added', old: null, new: 'z' },
      { path: 'd[0].e', change: 'changed', old: 1, new: 2 },
      { path: 'd[1]', change: 'added', old: null, new: { e: 3 } },
      { path: 'f', change: 'removed', old: 2, new: null },
      { path: 'g', change: 'added', old: null, new: null },
    ]);
    expect(differences(old, structuredClone(old))).toEqual([]);
    expect(differences({ a: ['x', 'y'] }, { a: ['y', 'x'] })).toEqual([]);
  });
});

/** A server that granted once and refused once, and files of its values and of changes of them. */
async function usedServer() {
  const server = await TestServer.createReady();
  await enrol(server.agent(), server.tpm.enrolling);
  const ask = (subject: object) =>
    refusalCodeAsync(() => requestRelease(server.agent(), { ...SUBJECT, ...subject }, [server.tpm.attester]));
  expect(await ask({})).toBe('accepted');
  expect(await ask({ inferencePolicyDigest: '00'.repeat(32) })).toBe('floor-inference-policy');
  const folder = await temporaryFolder();
  const write = async (name: string, document: unknown): Promise<string> => {
    const path = join(folder, name);
    await writeFile(
      path,
      typeof document === 'string' ? document : encodeCanonicalJson(document as JsonValue),
    );
    return path;
  };
  const good = server.tpm.software.inputs.referenceValues[0] as unknown as TpmDocument;
  const [pcr] = Object.keys(good.pcrs) as [string];
  const withPcr = (values: readonly string[]) => ({ ...good, pcrs: { ...good.pcrs, [pcr]: values } });
  const other = 'ff'.repeat(32);
  return {
    pcr,
    good,
    write,
    old: await write('old.json', good),
    narrower: await write('narrower.json', withPcr([other])),
    wider: await write('wider.json', withPcr([...good.pcrs[pcr]!, other])),
    log: ['--log', server.path, '--profile', await write('profile.json', server.agent().profile)],
  };
}

type Report = { readonly values: readonly JsonValue[]; readonly log: ReferenceImpact & { evidence: string } };

async function diff(...args: readonly string[]): Promise<Report> {
  const { exitCode, output, errors } = await runCommand('reference', 'diff', ...args, '--json');
  expect({ exitCode, errors }).toEqual({ exitCode: 0, errors: '' });
  return JSON.parse(output) as Report;
}

describe('weightgate reference diff', () => {
  it(
    'GV-66: says which grants a change would have turned, and which it cannot judge',
    async () => {
      const { old, narrower, wider, log, good, pcr } = await usedServer();
      const turned = await diff(old, narrower, ...log);
      expect(turned.values).toEqual([
        { path: `pcrs.${pcr}`, change: 'removed', old: good.pcrs[pcr]![0], new: null },
        { path: `pcrs.${pcr}`, change: 'added', old: null, new: 'ff'.repeat(32) },
      ]);
      expect(turned.log).toMatchObject({
        decisions: 2,
        statements: [expect.stringMatching(/^[0-9a-f]{64}$/)],
      });
      expect(turned.log.touched).toMatchObject([
        { outcome: 'granted', answer: 'turns' },
        { outcome: 'refused', answer: 'open' },
      ]);
      for (const decision of turned.log.touched)
        expect(decision.referenceValuesDigest).toMatch(/^[0-9a-f]{64}$/);
      expect(turned.log.evidence).toContain('not the evidence');
      const held = await diff(old, wider, ...log);
      expect(held.log.touched.map(({ answer }) => answer)).toEqual(['holds', 'open']);
      const never = await diff(wider, narrower, ...log);
      expect(never.log).toMatchObject({ decisions: 2, statements: [], touched: [] });
    },
    SLOW,
  );

  it(
    'GV-66: says in words what the log does not hold',
    async () => {
      const { old, narrower, log, pcr } = await usedServer();
      const { exitCode, output } = await runCommand('reference', 'diff', old, narrower, ...log);
      expect(exitCode).toBe(0);
      expect(output).toMatch(new RegExp(`^removed  pcrs\\.${pcr}  [0-9a-f]{64}$`, 'm'));
      expect(output).toMatch(/^tpm: 1 added, 1 removed, 0 changed$/m);
      expect(output).toMatch(
        /^turns +\d+ .* granted +lab-one {2}by [0-9a-f]{16}: the claims fit the old values/m,
      );
      expect(output).toMatch(
        /^open +\d+ .* refused +lab-one {2}by [0-9a-f]{16}: a refusal: the log holds neither/m,
      );
      expect(output).toMatch(/^2 decisions while the old values stood: 1 turn, 0 hold, 1 open$/m);
      expect(output).toMatch(
        /^note: the log holds claims of grants and digests of evidence, not the evidence/m,
      );
    },
    SLOW,
  );

  it(
    'compares statements too, and needs no log',
    async () => {
      const { old, good, write, narrower } = await usedServer();
      const { referenceValues } = examplePredicates;
      const statement = (rolloutPercent: number) => {
        const limits = { owner: 'Example vendor', validFrom: 1, validUntil: 2, rolloutPercent };
        const predicate = predicateOf('reference-values/v2', { ...referenceValues, ...limits, values: good });
        return new TextDecoder().decode(encodeStatement(makeStatement('reference-values/v2', predicate)));
      };
      const ten = await write('ten.json', statement(10));
      const all = await write('all.json', statement(100));
      const staged = await runCommand('reference', 'diff', ten, all);
      expect(staged.output).toBe(
        'changed  statement.rolloutPercent  10 -> 100\ntpm: 0 added, 0 removed, 0 changed\n',
      );
      expect(await diff(old, all)).toMatchObject({ values: [], log: null });
      const alone = await runCommand('reference', 'diff', old, narrower, '--log', '.');
      expect(alone.exitCode).toBe(2);
      expect(alone.errors).toContain('[argument-invalid]');
      const notOne = await write('none.json', '{"version": 1}');
      expect((await runCommand('reference', 'diff', old, notOne)).exitCode).toBe(3);
    },
    SLOW,
  );
});
