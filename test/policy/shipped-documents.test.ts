import { readFileSync } from 'node:fs';

import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { readGpuPolicy } from '../../attestation/nvidia-gpu/documents.ts';
import {
  readPolicy as readSevSnpPolicy,
  readReferenceValues as readSevSnpReferenceValues,
} from '../../attestation/sev-snp/documents.ts';
import { readReferenceValues } from '../../attestation/tpm/documents.ts';
import { deviceSetsOf } from '../../src/governance/device-sets.ts';
import { predicateSchemas } from '../../src/governance/predicates.ts';
import { readShape } from '../../src/platform/shape.ts';
import { refusalCode } from '../support/refusal-code.ts';

function shipped(path: string): string {
  return readFileSync(new URL(`../../policies/${path}`, import.meta.url), 'utf8');
}

const boot = {
  images: ['ab'.repeat(32)],
  loader: { digests: ['cd'.repeat(32)], texts: [{ exact: '/vmlinuz ro' }, { words: ['ro', 'root=*'] }] },
  uki: [{ section: '.linux', digest: 'ab'.repeat(32) }],
  mok: [],
  files: { '/usr/bin/agent': ['ab'.repeat(64)] },
  agentPrograms: [],
};

const reference = {
  version: 2,
  class: 'tpm',
  name: 'rack-2026',
  bank: 'sha256',
  pcrs: { '0': ['ab'.repeat(32)], '7': ['cd'.repeat(32), 'ef'.repeat(32)] },
  boot: null,
  provenance: { source: 'rack 4', recordedAt: 1_800_000_000 },
};

const changes: readonly (readonly [string, object])[] = [
  ['another version', { version: 1 }],
  ['another class', { class: 'nvidia-gpu' }],
  ['an unknown member', { more: 1 }],
  ['an empty name', { name: '' }],
  ['a name of two lines', { name: 'a\nb' }],
  ['a SHA-1 bank', { bank: 'sha1' }],
  ['values of another bank', { bank: 'sha384' }],
  ['no PCR', { pcrs: {} }],
  ['no boot', { boot: undefined }],
  [
    'a boot of nothing',
    { boot: { ...boot, images: [], loader: { digests: [], texts: [] }, uki: [], files: {} } },
  ],
  ['an unknown member of the boot', { boot: { ...boot, more: [] } }],
  ['a boot without images', { boot: { ...boot, images: undefined } }],
  ['a section that is none', { boot: { ...boot, uki: [{ section: '.text', digest: 'ab'.repeat(32) }] } }],
  ['a word with a blank', { boot: { ...boot, loader: { digests: [], texts: [{ words: ['ro quiet'] }] } } }],
  [
    'a text of two kinds',
    { boot: { ...boot, loader: { digests: [], texts: [{ exact: 'a', words: ['a'] }] } } },
  ],
  ['a file of no path', { boot: { ...boot, files: { '': ['ab'.repeat(32)] } } }],
  ['a PCR without values', { pcrs: { '0': [] } }],
  ['a PCR that is none', { pcrs: { '24': ['ab'.repeat(32)] } }],
  ['a PCR with a leading zero', { pcrs: { '07': ['ab'.repeat(32)] } }],
  ['upper-case digits', { pcrs: { '0': ['AB'.repeat(32)] } }],
  ['no provenance', { provenance: {} }],
  ['a time before 1970', { provenance: { source: 'rack 4', recordedAt: -1 } }],
];

describe('reference values of TPMs', () => {
  const validate = new Ajv2020({ strict: true }).compile(
    JSON.parse(shipped('reference-values/tpm/schema.json')) as object,
  );
  const verifier = (value: object) => refusalCode(() => readReferenceValues(value as JsonValue));

  it('W11: the schema and the verifier accept the same documents', () => {
    const sha384 = { ...reference, bank: 'sha384', pcrs: { '0': ['ab'.repeat(48)] } };
    const booted = [
      { ...reference, boot },
      { ...reference, boot, pcrs: {} },
    ];
    for (const document of [reference, sha384, ...booted]) {
      expect(validate(document)).toBe(true);
      expect(verifier(document)).toBe('accepted');
    }
  });

  it.each(changes)('W11: the schema and the verifier both refuse %s', (_name, change) => {
    const document = { ...reference, ...change };
    expect(validate(document)).toBe(false);
    expect(verifier(document)).not.toBe('accepted');
  });
});

describe('settings of the release policy', () => {
  const schema = predicateSchemas['release-policy/v1'].omit({ cedar: true, statedAt: true });
  const settings = () => parse(shipped('release/settings.yaml')) as Record<string, unknown>;

  const tpmSettings = () => settings()['tpm'] as Record<string, unknown>;

  it('GV-1: are of the declared shape', () => {
    expect(refusalCode(() => readShape(schema, settings(), 'settings'))).toBe('accepted');
  });

  it('GV-1, SN-43: those for SEV-SNP are too, and name sets of minimum firmware that are shipped', () => {
    const shape = readShape(schema, parse(shipped('release/settings-sev-snp.yaml')), 'settings');
    const { minimumTcb } = readSevSnpPolicy(shape.sevSnp ?? null);
    const sets = minimumTcb.sets.map(
      (name) => JSON.parse(shipped(`reference-values/sev-snp/${name}.json`)) as JsonValue,
    );
    expect(sets.map((set) => (readSevSnpReferenceValues(set) as { name: string }).name)).toEqual(
      minimumTcb.sets,
    );
    expect(sets.length).toBe(1);
  });

  it('GV-1, CM-9: those for GPUs are too, and say the same of the guest', () => {
    const shape = readShape(schema, parse(shipped('release/settings-sev-snp-nvidia-gpu.yaml')), 'settings');
    const guests = readShape(schema, parse(shipped('release/settings-sev-snp.yaml')), 'settings');
    expect(shape.sevSnp).toEqual(guests.sevSnp);
    const { chips } = readGpuPolicy(shape.nvidiaGpu ?? null);
    expect(deviceSetsOf(shape)).toEqual([
      [
        { class: 'sev-snp', count: 1, models: 'any', devices: 'any' },
        { class: 'nvidia-gpu', count: 1, models: chips, devices: 'any' },
      ],
    ]);
  });

  it.each([
    ['one class twice', ['tpm', 'tpm']],
    ['no device of a class', [{ class: 'tpm', count: 0, models: 'any', devices: 'any' }]],
    ['33 devices of a class', [{ class: 'tpm', count: 33, models: 'any', devices: 'any' }]],
    ['an empty list of models', [{ class: 'tpm', count: 1, models: [], devices: 'any' }]],
    ['a class without a count', [{ class: 'tpm', models: 'any', devices: 'any' }]],
    ['an unknown member', [{ class: 'tpm', count: 1, models: 'any', devices: 'any', more: 1 }]],
    ['nothing', []],
  ])('CM-9, GV-59: a set with %s is refused', (_name, set) => {
    const changed = { ...settings(), deviceSets: [set] };
    expect(refusalCode(() => readShape(schema, changed, 'settings'))).toBe('shape-mismatch');
  });

  it.each([
    ['descending', { bank: 'sha256', pcrs: [7, 4] }],
    ['twice', { bank: 'sha256', pcrs: [4, 4] }],
    ['beyond 23', { bank: 'sha256', pcrs: [24] }],
    ['of SHA-1', { bank: 'sha1', pcrs: [4] }],
    ['none', { bank: 'sha256', pcrs: [] }],
  ])('GV-35: PCRs %s are refused', (_name, tpm) => {
    expect(
      refusalCode(() => readShape(schema, { ...settings(), tpm: { ...tpmSettings(), ...tpm } }, 'settings')),
    ).toBe('shape-mismatch');
  });

  it.each(['registers', 'boot', 'allowUnsafeClock', 'endorsementValidity', 'deniedFirmware'])(
    'GV-36: a policy that does not state %s is refused',
    (member) => {
      const tpm = tpmSettings();
      Reflect.deleteProperty(tpm, member);
      expect(refusalCode(() => readShape(schema, { ...settings(), tpm }, 'settings'))).toBe('shape-mismatch');
    },
  );

  it('GV-48: no lease is longer than 7 days', () => {
    const lease = (research: number) =>
      refusalCode(() => readShape(schema, { ...settings(), leaseSeconds: { research } }, 'settings'));
    expect(lease(7 * 86_400)).toBe('accepted');
    expect(lease(7 * 86_400 + 1)).toBe('shape-mismatch');
    expect(lease(0)).toBe('shape-mismatch');
  });
});
