/** `weightgate evidence` with GPUs and NVSwitches: simulated ones that are accepted, and NVIDIA's own vectors. */

import { createHash, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { toBase64, toHex } from '../../attestation/core/bytes.ts';
import { makeGpu, type SimulatedNvidiaDevice } from '../../src/agent/simulated/nvidia-device.ts';
import { makeProtectedPcie } from '../../src/agent/simulated/nvidia-machine.ts';
import { readPresentedDevices } from '../../src/cli/evidence-nvidia-files.ts';
import { judgeEvidence, type VerifyOptions } from '../../src/cli/evidence-questions.ts';
import { runCommand } from '../support/command-line.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';
import {
  GPU_POLICY,
  manifestReferences,
  SIMULATED_AT,
  simulatedNvidia,
  SWITCH_POLICY,
} from '../support/simulated-gpu.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { vectorFolder, vectorsMissing } from '../support/vectors.ts';

const NONCE = new Uint8Array(32).fill(0x21);
const HEX_NONCE = toHex(NONCE);

interface Printed {
  readonly verdict: string;
  readonly code: string | null;
  readonly claims: Readonly<Record<string, unknown>> | null;
  readonly checks: readonly { readonly id: string; readonly field: string; readonly outcome: string }[];
}

/** Everything that a verifier of these devices needs, in files of one folder. */
interface Case {
  readonly folder: string;
  /** Of the JSON that NVIDIA's SDK would write. */
  readonly json: string;
  /** Of the first device alone. */
  readonly report: string;
  readonly chain: string;
  readonly options: VerifyOptions;
}

async function place(folder: string, name: string, content: Uint8Array | string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, content);
  return path;
}

const ARCHITECTURES = { GH100: 'HOPPER', GB100: 'BLACKWELL', GB202: 'BLACKWELL', LS10: 'LS10' } as const;

async function sdkEntry(device: SimulatedNvidiaDevice): Promise<Readonly<Record<string, string>>> {
  return {
    arch: ARCHITECTURES[device.chip],
    nonce: HEX_NONCE,
    evidence: toBase64(await device.attestationReport(NONCE)),
    certificate: toBase64(await device.certificateChain()),
    driver_version: '1.2.3',
  };
}

async function caseOf(devices: readonly SimulatedNvidiaDevice[]): Promise<Case> {
  const vendor = await simulatedNvidia();
  const folder = await temporaryFolder();
  const [first] = devices;
  if (first === undefined) throw new Error('a case has a device');
  const collateral = new Map<string, Uint8Array>();
  for (const device of devices) {
    for (const [name, bytes] of await vendor.collateralFor(device)) collateral.set(name, bytes);
  }
  const files = await Promise.all(
    [...collateral].map(async ([name, bytes]) => {
      const path = await place(folder, createHash('sha256').update(name).digest('hex'), bytes);
      return { isManifest: name.startsWith('rim:'), path };
    }),
  );
  const references = devices.flatMap((device) => manifestReferences(vendor, device));
  const reference = await Promise.all(
    references.map((document, i) => place(folder, `reference-${i}.json`, JSON.stringify(document))),
  );
  const pem = ({ certificate }: { certificate: Uint8Array }) => new X509Certificate(certificate).toString();
  return {
    folder,
    json: await place(folder, 'set.json', JSON.stringify(await Promise.all(devices.map(sdkEntry)))),
    report: await place(folder, 'report.bin', await first.attestationReport(NONCE)),
    chain: await place(folder, 'chain.pem', await first.certificateChain()),
    options: {
      ...{ cert: [], chain: [], crl: [], reference, at: SIMULATED_AT, nonce: NONCE },
      policy: await place(folder, 'policy.json', JSON.stringify(GPU_POLICY)),
      nvswitchPolicy: await place(folder, 'switch.json', JSON.stringify(SWITCH_POLICY)),
      rim: files.filter(({ isManifest }) => isManifest).map(({ path }) => path),
      ocsp: files.filter(({ isManifest }) => !isManifest).map(({ path }) => path),
      simulatedRoot: [await place(folder, 'root.pem', pem(vendor.devices.root))],
      simulatedManifestRoot: [await place(folder, 'manifest-root.pem', pem(vendor.manifests.root))],
    },
  };
}

function commandLine({ report, chain, options }: Case): readonly string[] {
  const { policy = '', reference, rim = [], ocsp = [], simulatedRoot, simulatedManifestRoot = [] } = options;
  const repeated = (name: string, paths: readonly string[]) => paths.flatMap((path) => [name, path]);
  return [
    ...['--nvidia-gpu', report, '--chain', chain, '--policy', policy, '--at', String(SIMULATED_AT)],
    ...repeated('--reference', reference),
    ...repeated('--rim', rim),
    ...repeated('--ocsp', ocsp),
    ...repeated('--simulated-root', simulatedRoot),
    ...repeated('--simulated-manifest-root', simulatedManifestRoot),
  ];
}

const verify = (...options: readonly string[]): ReturnType<typeof runCommand> =>
  runCommand('evidence', 'verify', ...options);

async function oneGpu(): Promise<Case> {
  return await caseOf([await makeGpu((await simulatedNvidia()).devices)]);
}

describe('weightgate evidence verify --nvidia-gpu', () => {
  it('CL-10, CL-18: accepts a report for its nonce, and says what was checked and why', async () => {
    const args = commandLine(await oneGpu());
    const [lines, json] = await Promise.all([
      verify(...args, '--nonce', HEX_NONCE),
      verify(...args, '--nonce', HEX_NONCE, '--json'),
    ]);
    expect(lines).toMatchObject({ exitCode: 0, errors: '' });
    expect(lines.output).toMatch(/^pass {2}gpu-signature {2}/m);
    expect(lines.output).toMatch(/^pass {2}rim-measurement {2}/m);
    expect(lines.output).toMatch(/^verdict: accepted \((\d+) of \1 checks passed\)$/m);
    const printed = JSON.parse(json.output) as Printed;
    expect(printed).toMatchObject({
      verdict: 'accepted',
      code: null,
      claims: { chip: 'GH100', simulated: true },
    });
  });

  it('CL-11: without a nonce says that freshness was not judged', async () => {
    const outcome = await verify(...commandLine(await oneGpu()));
    expect(outcome.exitCode).toBe(0);
    expect(outcome.output).toMatch(/^open {2}gpu-nonce/m);
    expect(outcome.output).toMatch(/^verdict: freshness was not judged/m);
  });

  it('CL-10: a replay ends with 1, cut bytes with 3, wrong options with 2, a missing file with 5', async () => {
    const subject = await oneGpu();
    const args = commandLine(subject);
    const replayed = await verify(...args, '--nonce', '11'.repeat(32));
    expect(replayed.exitCode).toBe(1);
    expect(replayed.errors).toContain('[gpu-nonce]');
    const cut = await place(subject.folder, 'cut.bin', Uint8Array.of(0x11, 0xe0, 1));
    const malformed = await verify(...args.with(1, cut), '--json');
    expect(malformed.exitCode).toBe(3);
    expect(JSON.parse(malformed.output)).toMatchObject({ verdict: 'refused', code: 'layout-truncated' });
    expect(await verify(...args, '--report-data', '00'.repeat(64))).toMatchObject({
      exitCode: 2,
      output: '',
    });
    expect(await verify(...args.with(1, '/nowhere'))).toMatchObject({ exitCode: 5, output: '' });
  });

  it('CL-15: the root of devices and the root of manifests do not stand for each other', async () => {
    const { report, chain, options } = await oneGpu();
    const question = { ...options, nvidiaGpu: report, chain: [chain] };
    const { simulatedRoot, simulatedManifestRoot = [] } = options;
    expect(await outcomeOf({ ...question })).toBe('accepted');
    expect(
      await outcomeOf({
        ...question,
        simulatedRoot: simulatedManifestRoot,
        simulatedManifestRoot: simulatedRoot,
      }),
    ).toBe('path-untrusted');
    expect(await outcomeOf({ ...question, simulatedManifestRoot: [] })).toBe('path-untrusted');
    expect(await outcomeOf({ ...question, simulatedRoot: [], simulatedManifestRoot: [] })).toBe(
      'path-untrusted',
    );
  });

  it('CL-18: files are placed by what they say, and one that is for nothing here is refused', async () => {
    const { report, chain, options } = await oneGpu();
    const question = { ...options, nvidiaGpu: report, chain: [chain] };
    const { rim = [], ocsp = [] } = options;
    expect(await outcomeOf({ ...question, rim: rim.slice(1) })).toBe('gpu-manifest');
    expect(await outcomeOf({ ...question, ocsp: ocsp.slice(1) })).toMatch(
      /^(ocsp-missing|gpu-manifest-authentic)$/,
    );
    expect(await outcomeOf({ ...question, rim: [...rim, rim[0] ?? ''] })).toBe('evidence-manifest');
    expect(await outcomeOf({ ...question, ocsp: [...ocsp, ocsp[0] ?? ''] })).toBe('evidence-ocsp-answer');
    const others = (await oneGpu()).options.ocsp ?? [];
    const answers = await Promise.all(
      others.map((path) => outcomeOf({ ...question, ocsp: [...ocsp, path] })),
    );
    expect(new Set(answers)).toEqual(new Set(['evidence-ocsp-answer']));
  });

  it('CL-5: options that do not fit are refused before any file is opened', async () => {
    const none = { cert: [], chain: [], crl: [], reference: [], simulatedRoot: [], at: 0 };
    const gpu = { ...none, nvidiaGpu: '/nowhere', policy: '/nowhere' };
    const wrong: readonly VerifyOptions[] = [
      { ...none, nvidiaGpu: '/nowhere' },
      { ...gpu, cert: ['/nowhere'] },
      { ...gpu, certificateTable: '/nowhere' },
      { ...gpu, reportData: NONCE },
      { ...gpu, nvswitch: '/nowhere' },
      { ...none, nvswitch: '/nowhere', policy: '/nowhere', nvswitchPolicy: '/nowhere' },
      { ...none, sevSnp: '/nowhere', policy: '/nowhere', rim: ['/nowhere'] },
      { ...none, sevSnp: '/nowhere', policy: '/nowhere', ocsp: ['/nowhere'] },
    ];
    for (const options of wrong) {
      expect(await refusalCodeAsync(() => judgeEvidence(options))).toBe('argument-invalid');
    }
    expect(await refusalCodeAsync(() => judgeEvidence(gpu))).toBe('file-not-found');
  });
});

describe('weightgate evidence verify --nvidia-gpu with several devices', () => {
  async function closedMachine(): Promise<Case> {
    const { devices } = await simulatedNvidia();
    return await caseOf(await makeProtectedPcie(devices, [{}, {}], [{}]));
  }

  it('CL-18: judges GPUs and switches of a file together', async () => {
    const { json, options } = await closedMachine();
    const judgement = await judgeEvidence({ ...options, nvidiaGpu: json });
    expect(judgement).toMatchObject({
      outcome: 'accepted',
      claims: { devices: [{}, {}, { class: 'nvswitch' }] },
    });
    expect(judgement.checks.some(({ id }) => id === 'gpu-set-topology')).toBe(true);
    const { nonce: _, ...open } = options;
    expect(await outcomeOf({ ...open, nvidiaGpu: json })).toBe('inspected');
  });

  it('CL-18: refuses GPUs in protected PCIe mode without switches', async () => {
    const { devices } = await simulatedNvidia();
    const { json, options } = await caseOf(await makeProtectedPcie(devices, [{}, {}], []));
    expect(await outcomeOf({ ...options, nvidiaGpu: json })).toBe('gpu-set-switches');
  });

  it('CL-18: refuses a set with a device twice or under another label', async () => {
    const { folder, json, options } = await closedMachine();
    const text = await readFile(json, 'utf8');
    const entries = JSON.parse(text) as readonly Readonly<Record<string, string>>[];
    const judged = async (name: string, list: readonly object[]): Promise<string> =>
      outcomeOf({ ...options, nvidiaGpu: await place(folder, name, JSON.stringify(list)) });
    const [first = {}, , third = {}] = entries;
    expect(await judged('twice.json', [...entries, first])).toBe('gpu-set-repeated');
    expect(await judged('label.json', entries.with(0, { ...first, arch: 'BLACKWELL' }))).toBe(
      'gpu-architecture',
    );
    expect(await judged('switch.json', entries.with(2, { ...third, arch: 'HOPPER' }))).toBe(
      'gpu-report-blocks',
    );
  });
});

describe('files of GPU evidence', () => {
  it('CL-18: takes every form in which tools write it, and keeps what is unsigned as hints', async () => {
    const device = await makeGpu((await simulatedNvidia()).devices);
    const entry = await sdkEntry(device);
    const report = await device.attestationReport(NONCE);
    const { evidence: _, certificate, ...hints } = entry;
    const hex = { evidence: toHex(report), certificate, arch: 'HOPPER', uuid: 'GPU-1' };
    const forms: readonly (readonly [form: unknown, hints: object])[] = [
      [[entry], hints],
      [{ evidences: [entry], result_code: 0, result_message: 'ok' }, hints],
      [{ evidences: [entry] }, hints],
      [{ device_evidence_list: [hex] }, { arch: 'HOPPER', uuid: 'GPU-1' }],
      [
        { nonce: HEX_NONCE, arch: 'HOPPER', evidence_list: [{ evidence: entry['evidence'], certificate }] },
        { nonce: HEX_NONCE, arch: 'HOPPER' },
      ],
    ];
    for (const [form, expected] of forms) {
      const bytes = new TextEncoder().encode(JSON.stringify(form));
      const [presented] = readPresentedDevices(bytes, 'file');
      expect(presented?.hints).toEqual(expected);
      expect(presented?.certificates).toHaveLength(5);
      expect(presented?.report[0]).toBe(0x11);
    }
  });

  it('CL-18: refuses unknown members, members that stand there twice, and what is neither', async () => {
    const entry = await sdkEntry(await makeGpu((await simulatedNvidia()).devices));
    const codeOf = (text: string): string =>
      refusalCode(() => readPresentedDevices(new TextEncoder().encode(text), 'file'));
    expect(codeOf(JSON.stringify([{ ...entry, note: 'x' }]))).toBe('shape-mismatch');
    expect(codeOf('[]')).toBe('shape-mismatch');
    expect(codeOf(JSON.stringify(Array.from({ length: 33 }, () => entry)))).toBe('shape-mismatch');
    expect(codeOf('{"evidences":[],"evidences":[]}')).toBe('evidence-gpu-json');
    expect(codeOf('not json')).toBe('evidence-gpu-json');
    expect(codeOf('[[[[[[]]]]]]')).toBe('evidence-gpu-json');
  });
});

describe('weightgate evidence inspect --nvidia-gpu', () => {
  it('CL-13: shows report, certificates and hints, and that hints are unsigned', async () => {
    const { json, report } = await oneGpu();
    const [bare, hinted] = await Promise.all([
      runCommand('evidence', 'inspect', '--nvidia-gpu', report),
      runCommand('evidence', 'inspect', '--nvidia-gpu', json, '--json'),
    ]);
    expect(bare.output).toMatch(/^report\.opaqueData\.driverVersion +590\.48\.01$/m);
    expect(JSON.parse(hinted.output)).toMatchObject({
      unsignedHints: { driver_version: '1.2.3' },
      report: { nonce: HEX_NONCE, opaqueData: { driverVersion: '590.48.01' } },
    });
    const { certificates } = JSON.parse(hinted.output) as { certificates: readonly { subject: string }[] };
    expect(certificates.map(({ subject }) => subject)).toContain('GH100 A01 GSP BROM');
  });
});

const noVectors = vectorsMissing('nvidia');

describe.skipIf(noVectors !== undefined)(`NVIDIA's own evidence ${noVectors ?? ''}`, () => {
  it('CL-18: a genuine report is authentic, and is not accepted without answers about revocation', async () => {
    const folder = join(vectorFolder('nvidia'), 'evidence', 'h100-550.90.07');
    const policy = await place(await temporaryFolder(), 'policy.json', JSON.stringify(GPU_POLICY));
    const judgement = await judgeEvidence({
      ...{ cert: [], crl: [], reference: [], simulatedRoot: [], at: 1_793_491_200, policy },
      nvidiaGpu: join(folder, 'report.bin'),
      chain: [join(folder, 'chain.pem')],
    });
    expect(judgement).toMatchObject({ outcome: 'refused', refusals: [{ code: 'ocsp-missing' }] });
    const passed = judgement.checks.filter(({ outcome }) => outcome === 'passed').map(({ id }) => id);
    expect(passed).toEqual(expect.arrayContaining(['gpu-signature', 'gpu-fwid']));
  });
});

/** How a question ends: the outcome, or the code of the first refusal. */
async function outcomeOf(options: VerifyOptions): Promise<string> {
  const judgement = await judgeEvidence(options);
  return judgement.outcome === 'refused' ? judgement.refusals[0].code : judgement.outcome;
}
