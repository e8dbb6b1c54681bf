import { p384 } from '@noble/curves/nist.js';
import { describe, expect, it } from 'vitest';

import { equalBytes, fromHex, toHex } from '../../../attestation/core/bytes.ts';
import { CertificateMemory } from '../../../attestation/core/certificate-memory.ts';
import { nvidiaAnchors } from '../../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../../attestation/nvidia-gpu/device-class.ts';
import { readPemChain, writeDeviceEvidence } from '../../../attestation/nvidia-gpu/evidence.ts';
import { verifyGpuReport } from '../../../attestation/nvidia-gpu/question.ts';
import type { Inspected, ReportQuestion } from '../../../attestation/nvidia-gpu/question.ts';
import { flippedBytes } from '../../support/flipped-bytes.ts';
import { nvidiaVectorsMissing, vectorDevice, vectorDevices } from './vectors.ts';
import type { VectorDevice } from './vectors.ts';

/** What the manifest calls a failing check, by the codes that say so here. */
const CHECK_OF_CODE: Readonly<Record<string, readonly string[]>> = {
  'gpu-report-trailing': ['trailing'],
  'gpu-report-fsp': ['blocks', 'opaque_required'],
  'gpu-chain-length': ['chain_length'],
  'path-untrusted': ['chain_root', 'chain_links'],
  'path-signature': ['chain_links'],
  'gpu-signature': ['signature'],
  'gpu-fwid-missing': ['fwid'],
};

const memory = new CertificateMemory();

function questionOf(device: VectorDevice, changes: Partial<ReportQuestion> = {}): ReportQuestion {
  return {
    ...{ kind: device.kind, report: device.report, time: device.time, memory },
    certificates: readPemChain(device.chain!, 'chain'),
    expectedNonce: device.nonce,
    ...{ anchors: nvidiaAnchors, collateral: new Map(), appraisal: undefined, architectureLabel: undefined },
    ...changes,
  };
}

async function answerTo(question: ReportQuestion): Promise<string> {
  const answer = await verifyGpuReport(question);
  return answer.outcome === 'refused' ? answer.refusals[0].code : answer.outcome;
}

const certified = vectorDevices().filter(({ chain }) => chain !== undefined);

describe.skipIf(nvidiaVectorsMissing !== undefined)(`genuine devices ${nvidiaVectorsMissing ?? ''}`, () => {
  it.each(certified)('NG-19 to NG-30: $id comes out as the manifest says: $failing', async (device) => {
    const code = await answerTo(questionOf(device));
    if (device.failing.length === 0) expect(code).toBe('inspected');
    else expect(device.failing).toContain((CHECK_OF_CODE[code] ?? [`unexpected ${code}`])[0]);
  });

  it.each(certified.filter(({ failing }) => failing.length === 0))(
    'NG-47: $id has the claims of the manifest',
    async (device) => {
      const { claims } = (await verifyGpuReport(questionOf(device))) as Inspected;
      const { parsed } = device;
      expect(claims).toMatchObject({
        ...{ simulated: false, appraisal: null, attachment: 'software-asserted' },
        anchor: 'NVIDIA Device Identity CA',
        vbiosVersion: parsed['vbios_version'],
        fwid: parsed['cert_fwid'],
        leafSerialNumber: (parsed['leaf_serial'] as string).toLowerCase(),
        pdi: (parsed['brom_serial'] as string).slice(2).toLowerCase(),
        nonce: parsed['nonce'],
        reportDigest: parsed['signed_sha384'],
      });
    },
  );

  it('NG-29: another expected nonce is refused', async () => {
    const device = vectorDevice('h100-550.90.07');
    for (const nonce of [new Uint8Array(32), device.nonce!.with(0, 0), device.nonce!.subarray(1)]) {
      expect(await answerTo(questionOf(device, { expectedNonce: nonce }))).toBe('gpu-nonce');
    }
  });

  it.each([
    ['ls10-96.10.55.00.01', 1],
    ['h100-550.90.07', 4],
  ])('NG-28: a flipped bit in the report of %s is refused, in every byte or %i-th', async (id, stride) => {
    const device = vectorDevice(id);
    const codes = new Map<string, number>();
    for (const [at, report] of [...flippedBytes(device.report)].entries()) {
      if (at % stride !== 0) continue;
      const code = await answerTo(questionOf(device, { report }));
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    expect(codes.get('inspected')).toBeUndefined();
    expect(codes.get('gpu-signature')).toBeGreaterThan(700);
  });

  it('NG-19: a flipped bit of a chain is refused, in every eighth byte', async () => {
    const device = vectorDevice('ls10-96.10.55.00.01');
    const certificates = readPemChain(device.chain!, 'chain');
    for (const [i, certificate] of certificates.entries()) {
      for (const [at, flipped] of [...flippedBytes(certificate)].entries()) {
        if (at % 8 !== i) continue;
        const code = await answerTo(questionOf(device, { certificates: certificates.with(i, flipped) }));
        expect([i, at, code]).not.toEqual([i, at, 'inspected']);
      }
    }
  });

  it('NG-16: a signature that is rewritten holds and names the same report', async () => {
    const device = vectorDevice('gb100-575.32');
    const { ORDER } = p384.Point.Fn;
    const s = BigInt(`0x${toHex(device.report.subarray(-48))}`);
    const rewritten = device.report.slice();
    rewritten.set(fromHex((ORDER - s).toString(16).padStart(96, '0'), 's'), rewritten.length - 48);
    expect(equalBytes(rewritten, device.report)).toBe(false);
    const answers = [device.report, rewritten].map((report) =>
      verifyGpuReport(questionOf(device, { report })),
    );
    const [before, after] = (await Promise.all(answers)) as Inspected[];
    expect(after!.outcome).toBe('inspected');
    expect(after!.claims).toEqual(before!.claims);
  });

  it.each([
    ['zero r', 96, new Uint8Array(48)],
    ['zero s', 48, new Uint8Array(48)],
    ['r beyond the order', 96, new Uint8Array(48).fill(0xff)],
    ['s beyond the order', 48, new Uint8Array(48).fill(0xff)],
  ])('NG-28: %s is refused before anything is verified with it', async (_, fromEnd, number) => {
    const device = vectorDevice('h100-550.90.07');
    const report = device.report.slice();
    report.set(number, report.length - fromEnd);
    expect(await answerTo(questionOf(device, { report }))).toBe('gpu-signature-range');
  });

  it('NG-30: a driver 545 passes without FWID only by name', async () => {
    const device = vectorDevice('h100-545.00-nofwid');
    const policy = {
      ...{ version: 1, class: 'nvidia-gpu', chips: ['GH100'], modes: ['spt'], unstatedMode: 'accept' },
      driversWithoutFwid: ['545.00'],
      minimumVersions: { sets: [], chips: [{ chip: 'GH100', driver: '545.00', vbios: '96.00.5E.00.01' }] },
      manifests: {
        ...{ issues: 'any', deniedDigests: [], signerNotBefore: 0, disabledNvdec: 'compare', hold: 'refuse' },
        uncovered: [],
      },
      revocation: { maxAgeSeconds: 86_400 },
      remoteResult: 'not-used',
      devices: { allowed: 'any', denied: [] },
      enrolment: 'not-required',
    };
    const appraisal = { policy, referenceValues: [] };
    // It comes as far as revocation, of which the vectors have no answers for this chain.
    expect(await answerTo(questionOf(device, { appraisal }))).toBe('ocsp-missing');
    const unnamed = { ...appraisal, policy: { ...policy, driversWithoutFwid: [] } };
    expect(await answerTo(questionOf(device, { appraisal: unnamed }))).toBe('gpu-fwid-missing');
  });

  it('NG-13: NG-14: evidence is written and read, and names the device by its boot ROM', () => {
    for (const [id, deviceClass] of [
      ['h100-550.90.07', nvidiaGpuDeviceClass],
      ['ls10-96.10.55.00.01', nvswitchDeviceClass],
    ] as const) {
      const { report, chain } = vectorDevice(id);
      const certificates = readPemChain(chain!, 'chain');
      const evidence = deviceClass.parse(writeDeviceEvidence(report, certificates), 'evidence');
      expect(evidence.certificates).toEqual(certificates);
      expect(evidence.report.bytes).toEqual(report);
      expect(deviceClass.identify(evidence as never)).toHaveLength(32);
      const short = deviceClass.parse(writeDeviceEvidence(report, certificates.slice(0, 1)), 'evidence');
      expect(() => deviceClass.identify(short as never)).toThrow(/gpu-evidence-unnamed/);
    }
  });
});
