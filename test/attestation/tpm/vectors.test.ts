/**
 * Vectors of TPMs beside what the runner says of them (test/support/vector-runner.test.ts, which judges all shared ones):
 * the runner knows none of them by name and believes no manifest.
 */

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { verifyEndorsementCertificate } from '../../../attestation/tpm/endorsement-certificate.ts';
import { PROJECT } from '../../support/command-line.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { openVectorFolder } from '../../support/vector-folder.ts';
import { runVectors } from '../../support/vector-runner.ts';
import type { VectorRun } from '../../support/vector-runner.ts';
import { tpmVectors } from '../../support/vector-tpm.ts';
import { vectorEntries, vectorFile, vectorFolder, vectorsMissing } from '../../support/vectors.ts';

interface Manifest {
  counts: Record<string, number>;
  mutations: { about: string; list: { change: string; refusedAs: string }[] };
  entries: {
    id: string;
    kind: string;
    verdict: string;
    files: Record<string, { path: string }>;
    expected: Record<string, unknown>;
  }[];
}

const missing = vectorsMissing('tpm');

/** Entries of the shared vectors under other names, in a folder of their own. */
async function derivedFolder(
  kinds: readonly string[],
  change: (manifest: Manifest) => void = () => undefined,
): Promise<string> {
  const source = vectorFolder('tpm');
  const target = await temporaryFolder();
  const manifest = JSON.parse(readFileSync(join(source, 'manifest.json'), 'utf8')) as Manifest;
  manifest.entries = manifest.entries.filter(({ kind }) => kinds.includes(kind));
  for (const kind of Object.keys(manifest.counts))
    manifest.counts[kind] = manifest.entries.filter((entry) => entry.kind === kind).length;
  for (const [i, entry] of manifest.entries.entries()) {
    entry.id = `renamed-${i}`;
    for (const [name, file] of Object.entries(entry.files)) {
      const path = join('elsewhere', String(i), `${name}.data`);
      mkdirSync(dirname(join(target, path)), { recursive: true });
      cpSync(join(source, file.path), join(target, path));
      file.path = path;
    }
  }
  change(manifest);
  writeFileSync(join(target, 'manifest.json'), JSON.stringify(manifest));
  return target;
}

function run(folder: string): Promise<VectorRun> {
  return runVectors(tpmVectors, openVectorFolder(folder), () => undefined);
}

/** The program as people start it. */
function runCommand(folder: string): { readonly status: number | null; readonly stdout: string } {
  const script = join(PROJECT, 'scripts/vectors.ts');
  const options = ['--disable-warning=ExperimentalWarning', script, 'tpm', folder];
  return spawnSync(process.execPath, options, { encoding: 'utf8' });
}

function entryOf(manifest: Manifest, kind: string): Manifest['entries'][number] {
  const entry = manifest.entries.find((one) => one.kind === kind);
  if (entry === undefined) throw new Error(`no entry of kind ${kind}`);
  return entry;
}

describe.skipIf(missing !== undefined)(`the runner over folders of its own ${missing ?? ''}`, () => {
  it('judges entries under other names and at other places', async () => {
    const folder = await derivedFolder(['quote', 'certify', 'name', 'credential', 'ima-log']);
    const { disagreement, lines, explained } = await run(folder);
    expect(disagreement).toBeUndefined();
    expect(lines).toBeGreaterThan(60);
    expect(explained).toBeLessThan(lines / 2);
  });

  it('ends with 1 at a wrong verdict, with 0 without one', async () => {
    const right = await derivedFolder(['name']);
    const wrong = await derivedFolder(['name'], (manifest) => {
      for (const entry of manifest.entries) entry.verdict = 'valid';
    });
    expect(runCommand(right)).toMatchObject({
      status: 0,
      stdout: expect.stringMatching(/all agree\n$/) as string,
    });
    expect(runCommand(wrong)).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/DIFFERS\trenamed-0\texpected accepted/) as string,
    });
  });

  it('applies a list of mutations of its own, in the same words', async () => {
    const folder = await derivedFolder(['quote'], ({ mutations }) => {
      mutations.list = [
        { change: 'another-place: XOR 0x80 into attest byte 60', refusedAs: 'bad-signature' },
        { change: 'magic: set attest byte 2 to 0x11', refusedAs: 'bad-magic' },
      ];
    });
    const printed: string[] = [];
    const { disagreement } = await runVectors(tpmVectors, openVectorFolder(folder), (line) =>
      printed.push(line),
    );
    expect(disagreement).toBeUndefined();
    expect(printed.filter((line) => line.includes('~another-place')).length).toBeGreaterThan(3);
    expect(printed.some((line) => line.includes('~flip'))).toBe(false);
  });

  it.each([
    ['words that have no rule', { change: 'paint it blue', refusedAs: 'bad-signature' }],
    ['a change that changes nothing', { change: 'x: XOR 0x00 into attest byte 9', refusedAs: 'bad-magic' }],
    ['another reason', { change: 'expect another nonce', refusedAs: 'bad-signature' }],
    ['a word for a reason that it does not know', { change: 'cut last byte of attest', refusedAs: 'odd' }],
  ])('disagrees about a mutation with %s', async (_what, mutation) => {
    const folder = await derivedFolder(['quote'], ({ mutations }) => (mutations.list = [mutation]));
    expect((await run(folder)).disagreement?.subject).toContain(`~${mutation.change}`);
  });

  it.each([
    ['quote', (expected: Record<string, unknown>) => (expected['qualifiedSignerIsPrimaryOf'] = 'owner')],
    ['quote-parse', ({ attest }: Record<string, unknown>) => ((attest as { safe: number }).safe = 0)],
    ['azure-hcl', (expected: Record<string, unknown>) => (expected['hwReport'] = 'tdx')],
    ['certify', (expected: Record<string, unknown>) => (expected['objectIsAcceptableAk'] = true)],
    ['creation', (expected: Record<string, unknown>) => (expected['creationHashMatches'] = false)],
    ['name', (expected: Record<string, unknown>) => (expected['bits'] = 1024)],
    ['ekcert', (expected: Record<string, unknown>) => (expected['eku'] = [])],
    ['credential', (expected: Record<string, unknown>) => (expected['idObjectReproducedFromSeed'] = false)],
    ['kdfa', (expected: Record<string, unknown>) => (expected['count'] = 99)],
    ['encaps', (expected: Record<string, unknown>) => (expected['count'] = 99)],
    ['eventlog', (expected: Record<string, unknown>) => (expected['events'] = 0)],
    ['ima-log', (expected: Record<string, unknown>) => (expected['entries'] = [])],
    ['name', (expected: Record<string, unknown>) => (expected['memberThatNobodyReads'] = 1)],
  ])('disagrees with a wrong fact about a %s', async (kind, change) => {
    const folder = await derivedFolder([kind], (manifest) => change(entryOf(manifest, kind).expected));
    expect((await run(folder)).disagreement?.subject).toMatch(/#members$/);
  });

  it('refuses a manifest of another form, and files that are not those of the manifest', async () => {
    const strange = await derivedFolder(['name'], (manifest) => (entryOf(manifest, 'name').kind = 'odd'));
    await expect(run(strange)).rejects.toThrow('kind');
    const counted = await derivedFolder(['name'], ({ counts }) => (counts['name'] = 9));
    await expect(run(counted)).rejects.toThrow('counts 9');
    const altered = await derivedFolder(['name']);
    writeFileSync(join(altered, 'elsewhere/0/publicArea.data'), 'other');
    await expect(run(altered)).rejects.toThrow('SHA-256');
  });
});

interface EndorsementExpected {
  readonly derLength: number;
}

describe.skipIf(missing !== undefined)('vectors: endorsement certificates', () => {
  it.each(vectorEntries<EndorsementExpected>('tpm', 'ekcert'))(
    'EV-12: $id with any one byte changed is never accepted',
    async (entry) => {
      const names = Object.keys(entry.files).filter((name) => /^ca\d$/.test(name));
      const chain = names.sort().map((name) => vectorFile('tpm', entry, name));
      const inputs = {
        intermediates: chain.slice(0, -1),
        anchors: chain.slice(-1).map((certificate) => ({ name: 'maker', certificate, simulated: false })),
        time: 1_750_000_000,
        validity: 'ignore-expiry',
      } as const;
      const bytes = vectorFile('tpm', entry, 'cert').subarray(0, entry.expected.derLength);
      for (let at = 0; at < bytes.length; at += 7) {
        const changed = bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));
        const { outcome } = await verifyEndorsementCertificate(changed, inputs);
        expect({ at, outcome }).toEqual({ at, outcome: 'refused' });
      }
    },
  );
});
