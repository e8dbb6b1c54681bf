import { execFile } from 'node:child_process';
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { InvalidArgumentError } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';

import { computeDeviceValue } from '../../attestation/core/binding.ts';
import { toBase64, toHex } from '../../attestation/core/bytes.ts';
import { encodeEvidence } from '../../attestation/core/evidence.ts';
import { attestationKeyIdentity } from '../../attestation/tpm/attestation-key.ts';
import { timeArgument } from '../../src/cli/commands/evidence.ts';
import { judgeEvidence, type VerifyOptions } from '../../src/cli/evidence-questions.ts';
import { amdFile, amdVectorsMissing } from '../support/amd-collateral.ts';
import { PROJECT, runCommand } from '../support/command-line.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { enrolmentOf, makeSoftwareAttester } from '../support/software-attester.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { loosestPolicy } from '../support/vector-snp-question.ts';
import { vectorFolder } from '../support/vectors.ts';

const skip = amdVectorsMissing !== undefined;
const place = (path: string): string => join(vectorFolder('snp'), path);

interface Printed {
  readonly verdict: string;
  readonly code: string | null;
  readonly claims: Readonly<Record<string, unknown>> | null;
  readonly checks: readonly { readonly id: string; readonly outcome: string; readonly protects: string }[];
}

/** A genuine report with its files and documents in place. */
interface Case {
  readonly folder: string;
  readonly report: Uint8Array;
  readonly options: readonly string[];
  readonly reportData: string;
}

async function writeJson(path: string, document: unknown): Promise<string> {
  await writeFile(path, JSON.stringify(document, undefined, 2));
  return path;
}

async function milanCase(changes: object = {}): Promise<Case> {
  const folder = await temporaryFolder();
  const report = amdFile('milan-v3-vcek/report.bin');
  const origin = {
    method: 'recorded',
    tool: 'test',
    toolVersion: '1',
    artefacts: [],
    parameters: {},
    madeAt: 0,
  };
  const launch = { version: 1, class: 'sev-snp', kind: 'launch', name: 'guest', provenance: origin };
  const measurement = toHex(report.subarray(0x90, 0xc0));
  const policy = await writeJson(join(folder, 'policy.json'), { ...loosestPolicy(report), ...changes });
  const reference = await writeJson(join(folder, 'reference.json'), { ...launch, measurement });
  const files = ['--cert', place('milan-v3-vcek/vcek.der'), '--chain', place('certs/milan-ask.der')];
  const options = [
    ...files,
    '--chain',
    place('certs/milan-ark.der'),
    '--policy',
    policy,
    '--reference',
    reference,
  ];
  return {
    folder,
    report,
    options: [...options, '--at', '2026-01-31T12:00:00Z'],
    reportData: toHex(report.subarray(0x50, 0x90)),
  };
}

const verify = (...options: readonly string[]): ReturnType<typeof runCommand> =>
  runCommand('evidence', 'verify', ...options);

describe.skipIf(skip)(`weightgate evidence verify ${amdVectorsMissing ?? ''}`, () => {
  const genuine = place('milan-v3-vcek/report.bin');

  it('CL-10: accepts a genuine report for what it was made for', async () => {
    const { options, reportData } = await milanCase();
    const args = ['--sev-snp', genuine, ...options, '--report-data', reportData];
    const [lines, json] = await Promise.all([verify(...args), verify(...args, '--json')]);
    expect(lines).toMatchObject({ exitCode: 0, errors: '' });
    expect(lines.output).toMatch(/^pass {2}snp-signature {2}/m);
    expect(lines.output).toMatch(/^ {6}without {3}\S/m);
    expect(lines.output).toMatch(/^verdict: accepted \((\d+) of \1 checks passed\)$/m);
    const printed = JSON.parse(json.output) as Printed;
    expect(printed).toMatchObject({
      verdict: 'accepted',
      code: null,
      claims: { productLine: 'Milan', simulated: false },
    });
    expect(printed.checks.every(({ outcome, protects }) => outcome === 'passed' && protects !== '')).toBe(
      true,
    );
  });

  it('CL-11: says plainly that freshness was not judged', async () => {
    const { options } = await milanCase();
    const args = ['--sev-snp', genuine, ...options];
    const [lines, json] = await Promise.all([verify(...args), verify(...args, '--json')]);
    expect(lines.exitCode).toBe(0);
    expect(lines.output).toMatch(/^verdict: freshness was not judged/m);
    expect(lines.output).toMatch(/^open {2}snp-report-data/m);
    expect(lines.output).not.toContain('verdict: accepted');
    expect(JSON.parse(json.output)).toMatchObject({ verdict: 'freshness-not-judged', code: null });
  });

  it('CL-10: refuses what a policy does not want, with all that is wrong', async () => {
    const { options, reportData } = await milanCase({
      chips: { allowed: ['11'.repeat(64)], denied: [], allowMasked: false },
      signingKeys: ['vlek'],
    });
    const outcome = await verify('--sev-snp', genuine, ...options, '--report-data', reportData, '--json');
    expect(outcome.exitCode).toBe(1);
    const printed = JSON.parse(outcome.output) as Printed;
    expect(printed).toMatchObject({ verdict: 'refused', claims: null });
    expect(printed.checks.filter(({ outcome: how }) => how === 'failed').length).toBeGreaterThan(1);
    expect(outcome.errors).toContain(`[${printed.code}]`);
  });

  it('CL-10: refuses a replay and an altered report', async () => {
    const { folder, options, report, reportData } = await milanCase();
    const altered = report.slice();
    altered[0x90] = (altered[0x90] ?? 0) ^ 0x80;
    const path = join(folder, 'altered.bin');
    await writeFile(path, altered);
    const [replayed, forged] = await Promise.all([
      verify('--sev-snp', genuine, ...options, '--report-data', '11'.repeat(64)),
      verify('--sev-snp', path, ...options, '--report-data', reportData),
    ]);
    expect(replayed.exitCode).toBe(1);
    expect(replayed.output).toMatch(/^FAIL {2}snp-report-data/m);
    expect(forged.exitCode).toBe(1);
    expect(forged.errors).toContain('[snp-signature]');
  });

  it('CL-12: malformed evidence ends with 3, and says so in JSON too', async () => {
    const { folder, options } = await milanCase();
    const path = join(folder, 'short.bin');
    await writeFile(path, new Uint8Array(1183));
    const outcome = await verify('--sev-snp', path, ...options, '--json');
    expect(outcome.exitCode).toBe(3);
    expect(JSON.parse(outcome.output)).toMatchObject({
      verdict: 'refused',
      code: 'snp-report-size',
      checks: [],
    });
  });

  it('CL-12: wrong options end with 2, missing files with 5, and nothing is printed', async () => {
    const { options } = await milanCase();
    const wrong = await verify('--sev-snp', genuine, ...options, '--report-data', '00');
    expect(wrong).toMatchObject({ exitCode: 2, output: '' });
    expect(await verify('--sev-snp', '/nowhere', ...options)).toMatchObject({ exitCode: 5, output: '' });
  });

  it('CL-5, CL-12: options that do not fit are refused before any file is opened', async () => {
    const none = { cert: [], chain: [], crl: [], reference: [], simulatedRoot: [], at: 0 };
    const report = { ...none, sevSnp: '/nowhere', policy: '/nowhere' };
    const nonce = Uint8Array.of(1);
    const wrong: readonly VerifyOptions[] = [
      none,
      { ...report, azureHcl: '/nowhere' },
      { ...none, sevSnp: '/nowhere' },
      { ...report, nonce },
      { ...report, inputs: '/nowhere' },
      { ...report, fetch: true },
      { ...report, sevSnp: '-', cert: ['-'] },
      { ...none, bundle: '/nowhere' },
      { ...none, bundle: '/nowhere', inputs: '/nowhere', policy: '/nowhere' },
      { ...none, azureHcl: '/nowhere', policy: '/nowhere' },
    ];
    for (const options of wrong) {
      expect(await refusalCodeAsync(() => judgeEvidence(options))).toBe('argument-invalid');
    }
    expect(await refusalCodeAsync(() => judgeEvidence(report))).toBe('file-not-found');
  });

  it('CL-12: a time is a number or a UTC time', () => {
    expect(timeArgument('2026-01-31T12:00:00Z')).toBe(1769860800);
    expect(timeArgument('1769860800')).toBe(1769860800);
    for (const text of ['tomorrow', '2026-01-31', '2026-13-31T12:00:00Z', '-1', '1.5', '']) {
      expect(() => timeArgument(text)).toThrow(InvalidArgumentError);
    }
  });

  it('CL-12: reads through a link and from standard input, but no more than fits', async () => {
    const { folder, options, reportData } = await milanCase();
    const link = join(folder, 'link.bin');
    await symlink(genuine, link);
    const linked = await verify('--sev-snp', link, ...options, '--report-data', reportData);
    expect(linked.exitCode).toBe(0);
    const program = join(PROJECT, 'bin', 'weightgate');
    const piped = (input: string): Promise<{ readonly stdout: string }> =>
      promisify(execFile)('sh', [
        '-c',
        `${input} | "$0" "$@"`,
        program,
        'evidence',
        'verify',
        '--sev-snp',
        '-',
        ...options,
      ]);
    expect((await piped(`cat '${genuine}'`)).stdout).toContain('verdict: freshness was not judged');
    await expect(piped('head -c 300000 /dev/zero')).rejects.toMatchObject({ code: 5 });
  });

  it('CL-6: what evidence says is printable', async () => {
    const { folder, options } = await milanCase();
    const path = join(folder, 'bad.der');
    await writeFile(path, Uint8Array.of(0x1b, 0x5b, 0x32, 0x4a));
    const outcome = await verify('--sev-snp', genuine, '--cert', path, ...options);
    expect(outcome.exitCode).toBe(3);
    // eslint-disable-next-line no-control-regex -- control characters are what must not be there
    expect(outcome.output + outcome.errors).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
  });
});

describe.skipIf(skip)(`weightgate evidence with machines of Azure ${amdVectorsMissing ?? ''}`, () => {
  const vector = 'milan-v3-azure-vtpm';
  const files = [
    ...['--azure-hcl', place(`${vector}/hcl-report.bin`), '--quote', place(`${vector}/tpm-quote-msg.bin`)],
    ...['--quote-signature', place(`${vector}/tpm-quote-sig.bin`), '--cert', place(`${vector}/vcek.der`)],
    ...['--chain', place('certs/milan-ask.der'), '--chain', place('certs/milan-ark.der')],
  ];

  async function azureOptions(): Promise<readonly string[]> {
    const folder = await temporaryFolder();
    const manifest = JSON.parse(Buffer.from(amdFile('manifest.json')).toString()) as {
      vectors: { id: string; expected: { azure_vtpm?: { pcrs_sha256: string[] } } }[];
    };
    const values = manifest.vectors.find(({ id }) => id === vector)?.expected.azure_vtpm?.pcrs_sha256 ?? [];
    const report = amdFile(`${vector}/report.bin`);
    const tpm = { version: 2, class: 'tpm', bank: 'sha256', pcrs: values.map((_, pcr) => pcr) };
    const policy = await writeJson(join(folder, 'policy.json'), {
      ...{ version: 1, class: 'azure-vtpm', allowConsole: true, allowFilteredDevices: true },
      allowInsecureBoot: false,
      sevSnp: loosestPolicy(report),
      tpm: {
        ...tpm,
        registers: 'reference',
        boot: 'any',
        ratchet: 'none',
        allowUnsafeClock: false,
        deniedFirmware: [],
      },
    });
    const origin = {
      method: 'recorded',
      tool: 'test',
      toolVersion: '1',
      artefacts: [],
      parameters: {},
      madeAt: 0,
    };
    const measurement = toHex(report.subarray(0x90, 0xc0));
    const paravisor = await writeJson(join(folder, 'paravisor.json'), {
      ...{ version: 1, class: 'sev-snp', kind: 'launch', name: 'paravisor', measurement, provenance: origin },
    });
    const machine = await writeJson(join(folder, 'machine.json'), {
      ...{
        version: 2,
        class: 'tpm',
        name: 'machine',
        bank: 'sha256',
        pcrs: { '7': [values[7]] },
        boot: null,
      },
      provenance: { source: 'vectors', recordedAt: 0 },
    });
    const pcrs = await writeJson(join(folder, 'pcrs.json'), { sha256: Object.fromEntries(values.entries()) });
    const documents = ['--policy', policy, '--reference', paravisor, '--reference', machine];
    return [...files, ...documents, '--pcrs', pcrs, '--at', '2026-01-31T12:00:00Z'];
  }

  it('CL-10: accepts a machine for its nonce, refuses it for another, and inspects it for none', async () => {
    const options = await azureOptions();
    const nonce = Buffer.from('challenge').toString('hex');
    const [fresh, stale, open] = await Promise.all([
      verify(...options, '--nonce', nonce, '--json'),
      verify(...options, '--nonce', '00'),
      verify(...options),
    ]);
    expect(fresh.exitCode).toBe(0);
    expect(JSON.parse(fresh.output)).toMatchObject({
      verdict: 'accepted',
      claims: { nonce, secureBoot: true },
    });
    expect(stale).toMatchObject({ exitCode: 1 });
    expect(stale.errors).toContain('[tpm-quote-binding]');
    expect(open).toMatchObject({ exitCode: 0 });
    expect(open.output).toContain('verdict: freshness was not judged');
  });

  it('CL-13: shows what it says', async () => {
    const [lines, json] = await Promise.all([
      runCommand('evidence', 'inspect', ...files.slice(0, 2)),
      runCommand('evidence', 'inspect', ...files.slice(0, 2), '--json'),
    ]);
    expect(lines.output).toMatch(/^runtimeClaims\.configuration\.secureBoot +true$/m);
    expect(lines.output).toMatch(/^report\.policy\.debug +false$/m);
    expect(JSON.parse(json.output)).toMatchObject({
      report: { productLine: 'Milan', firmware: { current: '1.55.29' }, tcb: { reported: { snp: 24 } } },
    });
  });
});

describe('weightgate evidence with bundles', () => {
  const binding = new Uint8Array(32).fill(5);
  let bundle: Uint8Array;
  let inputs: Readonly<Record<string, unknown>>;
  let time: number;

  beforeAll(async () => {
    const attester = await makeSoftwareAttester();
    const identity = attestationKeyIdentity(attester.publicArea);
    const extraData = computeDeviceValue('tpm', binding, identity);
    bundle = encodeEvidence([
      { class: 'tpm', evidence: await attester.evidence(attester.quote({ extraData })) },
    ]);
    const { policy, referenceValues, lab } = attester.inputs;
    const { name, certificate, simulated } = attester.anchor;
    const anchors = [{ name, certificate: toBase64(certificate), simulated }];
    ({ time } = attester.inputs);
    inputs = {
      version: 1,
      binding: toHex(binding),
      lab,
      classes: { tpm: { anchors, collateral: {}, referenceValues, policy } },
      enrolments: { [`tpm/${toHex(identity)}`]: enrolmentOf(attester.name, attester.anchor) },
      deviceSets: [[{ class: 'tpm', count: 1, models: 'any', devices: 'any' }]],
    };
  });

  async function bundleOptions(changes: object = {}): Promise<readonly string[]> {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'bundle.json'), bundle);
    const path = await writeJson(join(folder, 'inputs.json'), { ...inputs, ...changes });
    return ['--bundle', join(folder, 'bundle.json'), '--inputs', path, '--at', String(time)];
  }

  it('CL-14: derives the verdict on a TPM again', async () => {
    const outcome = await verify(...(await bundleOptions()), '--json');
    expect(outcome).toMatchObject({ exitCode: 0, errors: '' });
    expect(JSON.parse(outcome.output)).toMatchObject({ verdict: 'accepted', claims: [{ class: 'tpm' }] });
  });

  it('CL-14: refuses it for another binding, another lab and without its record', async () => {
    const cases = [
      [{ binding: '00'.repeat(32) }, 'tpm-quote-binding'],
      [{ lab: 'lab-two' }, 'tpm-other-lab'],
      [{ enrolments: {} }, 'tpm-not-enrolled'],
      [{ classes: {} }, 'evidence-class-unconfigured'],
      [{ deviceSets: [] }, 'composite-set-undeclared'],
    ] as const;
    const outcomes = await Promise.all(
      cases.map(async ([changes]) => verify(...(await bundleOptions(changes)))),
    );
    for (const [i, { exitCode, errors }] of outcomes.entries()) {
      expect({ exitCode, errors }).toMatchObject({ exitCode: 1 });
      expect(errors).toContain(`[${cases[i]?.[1]}]`);
    }
  });

  it('CL-14: inputs with unknown members are malformed', async () => {
    const outcome = await verify(...(await bundleOptions({ more: 1 })));
    expect(outcome).toMatchObject({ exitCode: 3 });
    expect(outcome.errors).toContain('[shape-member]');
  });

  it('CL-13: shows the quote in a bundle', async () => {
    const [, path = ''] = await bundleOptions();
    const { output } = await runCommand('evidence', 'inspect', '--bundle', path, '--json');
    expect(JSON.parse(output)).toMatchObject({
      devices: [{ class: 'tpm', evidence: { attest: { type: 0x8018 } } }],
    });
  });
});
