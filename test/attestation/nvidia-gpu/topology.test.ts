import { describe, expect, it } from 'vitest';

import type { DeviceClaims } from '../../../attestation/core/device-class.ts';
import { Checklist } from '../../../attestation/core/verdict.ts';
import { nvidiaAnchors } from '../../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import type {
  GpuReportClaims,
  ReportClaims,
  SwitchReportClaims,
} from '../../../attestation/nvidia-gpu/claims.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../../attestation/nvidia-gpu/device-class.ts';
import { readPemChain } from '../../../attestation/nvidia-gpu/evidence.ts';
import { verifyGpuReport } from '../../../attestation/nvidia-gpu/question.ts';
import { appraiseTopology } from '../../../attestation/nvidia-gpu/topology.ts';
import { nvidiaVectorsMissing, vectorMachine } from './vectors.ts';

const COMMON = {
  simulated: false,
  attachment: 'software-asserted',
  anchor: 'a root',
  stepping: 'A01',
  fwid: '',
  leafSerialNumber: '',
  nonce: '',
  reportDigest: '',
} as const;

function pdi(kind: number, i: number): string {
  return `${kind}${i}`.padEnd(16, '0');
}

function gpu(i: number, changes: Partial<GpuReportClaims> = {}): GpuReportClaims {
  return {
    ...COMMON,
    ...{
      class: 'nvidia-gpu',
      identity: `gpu ${i}`,
      pdi: pdi(1, i),
      chip: 'GH100',
      vbiosVersion: '96.00.9F.00.01',
    },
    ...{ driverVersion: '590.12', mode: 'spt', modeStated: true, fwidReported: true, nvdec0: 'disabled' },
    board: { project: 'G520', projectSku: '0200', chipSku: '885' },
    switchPdis: [],
    ...changes,
  };
}

function nvswitch(i: number, changes: Partial<SwitchReportClaims> = {}): SwitchReportClaims {
  return {
    ...COMMON,
    ...{ class: 'nvswitch', identity: `switch ${i}`, pdi: pdi(5, i), reportedPdi: pdi(5, i) },
    ...{ chip: 'LS10', vbiosVersion: '96.10.73.00.01', locked: true, positionId: i, gpuPdis: [] },
    ...changes,
  };
}

/** A board in protected-PCIe mode, every GPU linked to every switch. */
function board(gpus: number, switches: number): readonly ReportClaims[] {
  const numbers = (count: number): readonly number[] => Array.from({ length: count }, (_, i) => i);
  const gpuPdis = numbers(gpus).map((i) => pdi(1, i));
  const switchPdis = numbers(switches).map((i) => pdi(5, i));
  return [
    ...numbers(gpus).map((i) => gpu(i, { mode: 'ppcie', switchPdis })),
    ...numbers(switches).map((i) => nvswitch(i, { gpuPdis })),
  ];
}

/** Codes of what fails, each once. */
function codes(devices: readonly DeviceClaims[]): readonly string[] {
  const checks = new Checklist();
  appraiseTopology(devices, checks);
  return [...new Set(checks.failed.map(({ refusal }) => refusal.code))];
}

function changed<Claims extends ReportClaims>(
  devices: readonly ReportClaims[],
  at: number,
  changes: Partial<Claims>,
): readonly ReportClaims[] {
  return devices.with(at, { ...devices[at]!, ...changes });
}

describe('machines', () => {
  const whole = board(8, 4);

  it.each([
    ['one GPU', [gpu(0)]],
    ['one GPU in MPT', [gpu(0, { mode: 'mpt' })]],
    ['eight in MPT', Array.from({ length: 8 }, (_, i) => gpu(i, { mode: 'mpt' }))],
    ['a protected board', board(8, 4)],
    ['a protected board of another order', board(8, 4).toReversed()],
    ['a part of a board', board(4, 2)],
  ])('NG-42: NG-43: are accepted: %s', (_, devices) => {
    expect(codes(devices)).toEqual([]);
  });

  it('NG-42: have each device once', () => {
    expect(codes(whole.with(7, whole[0]!))).toEqual(['gpu-set-repeated', 'gpu-set-topology']);
    expect(codes(whole.with(11, whole[8]!))).toEqual(['gpu-set-repeated', 'gpu-set-topology']);
    const mpt = [gpu(0, { mode: 'mpt' }), gpu(1, { mode: 'mpt', identity: 'gpu 0' })];
    expect(codes(mpt)).toEqual(['gpu-set-repeated']);
    const samePdi = [gpu(0, { mode: 'mpt' }), gpu(1, { mode: 'mpt', pdi: pdi(1, 0) })];
    expect(codes(samePdi)).toEqual(['gpu-set-repeated']);
  });

  it.each([
    ['driver', 0, { driverVersion: '590.13' }],
    ['VBIOS', 0, { vbiosVersion: '96.00.9F.00.02' }],
    ['chip', 0, { chip: 'GB100' }],
    ['VBIOS of a switch', 8, { vbiosVersion: '96.10.74.00.01' }],
  ])('NG-42: have one %s', (_, at, changes) => {
    expect(codes(changed(whole, at, changes))).toEqual(['gpu-set-versions']);
  });

  it('NG-43: are in one mode, and in one for several GPUs', () => {
    expect(codes([gpu(0), gpu(1)])).toEqual(['gpu-set-mode']);
    expect(codes([gpu(0, { mode: 'mpt' }), gpu(1)])).toEqual(['gpu-set-mode']);
    expect(codes(changed<GpuReportClaims>(whole, 3, { mode: 'mpt' }))).toEqual(['gpu-set-mode']);
  });

  it('NG-44: have switches in protected-PCIe mode and in no other', () => {
    expect(codes(whole.slice(0, 8))).toEqual(['gpu-set-switches', 'gpu-set-topology']);
    expect(codes([gpu(0, { mode: 'mpt' }), gpu(1, { mode: 'mpt' }), nvswitch(0)])).toContain(
      'gpu-set-switches',
    );
    expect(codes([gpu(0, { mode: 'ppcie' })])).toEqual(['gpu-set-switches', 'gpu-set-topology']);
  });

  it('NG-45: have all devices that are linked, and no other', () => {
    expect(codes(whole.toSpliced(11, 1))).toEqual(['gpu-set-topology']);
    expect(codes(whole.toSpliced(3, 1))).toEqual(['gpu-set-topology']);
    const stranger = gpu(9, { mode: 'ppcie', switchPdis: (whole[0] as GpuReportClaims).switchPdis });
    expect(codes(whole.with(2, stranger))).toEqual(['gpu-set-topology']);
    expect(codes([...whole, stranger])).toEqual(['gpu-set-topology']);
    const between = nvswitch(9, { gpuPdis: (whole[8] as SwitchReportClaims).gpuPdis });
    expect(codes([...whole, between])).toEqual(['gpu-set-topology']);
    for (const at of [0, 8]) {
      expect(codes(changed(whole, at, at === 0 ? { switchPdis: [] } : { gpuPdis: [] }))).toEqual([
        'gpu-set-topology',
      ]);
    }
  });

  it('NG-42: are appraised once, by the class of the GPUs where there are any', () => {
    const both = new Checklist();
    nvidiaGpuDeviceClass.appraiseSet?.(whole, both);
    const gpusOnly = both.checks.length;
    nvswitchDeviceClass.appraiseSet?.(whole, both);
    expect(both.checks).toHaveLength(gpusOnly);
    expect(both.failed).toEqual([]);
    const alone = new Checklist();
    nvswitchDeviceClass.appraiseSet?.([nvswitch(0)], alone);
    expect(alone.failed.map(({ refusal }) => refusal.code)).toContain('gpu-set-switches');
  });

  it('NG-42: devices of other classes are passed over', () => {
    expect(codes([gpu(0), { class: 'tpm', identity: 'gpu 0', simulated: false }])).toEqual([]);
  });
});

describe.skipIf(nvidiaVectorsMissing !== undefined)(`genuine machines ${nvidiaVectorsMissing ?? ''}`, () => {
  async function claimsOf(id: string): Promise<readonly ReportClaims[]> {
    const claims: ReportClaims[] = [];
    for (const { kind, report, chain, nonce, time } of vectorMachine(id)) {
      const answer = await verifyGpuReport({
        ...{ kind, report, time, certificates: readPemChain(chain!, 'chain'), expectedNonce: nonce },
        ...{
          anchors: nvidiaAnchors,
          collateral: new Map(),
          appraisal: undefined,
          architectureLabel: undefined,
        },
      });
      if (answer.outcome !== 'inspected') throw new Error(JSON.stringify(answer));
      claims.push(answer.claims);
    }
    return claims;
  }

  it('NG-45: an HGX board with eight GPUs and four switches is closed', async () => {
    const devices = await claimsOf('set/hgx-h100-ppcie-590.12');
    expect(devices).toHaveLength(12);
    expect(codes(devices)).toEqual([]);
    for (let i = 0; i < devices.length; i += 1) {
      expect([i, codes(devices.toSpliced(i, 1))]).toEqual([i, ['gpu-set-topology']]);
    }
    expect(codes(devices.with(7, devices[0]!))).toEqual(['gpu-set-repeated', 'gpu-set-topology']);
  });

  it('NG-43: eight Blackwell GPUs in MPT stand without switches', async () => {
    const devices = await claimsOf('set/gb100-mpt-590.48.01');
    expect(devices.map((claims) => claims.class === 'nvidia-gpu' && claims.mode)).toEqual(
      Array(8).fill('mpt'),
    );
    expect(codes(devices)).toEqual([]);
    expect(codes(devices.with(6, devices[5]!))).toEqual(['gpu-set-repeated']);
  });

  it('NG-44: eight GPUs of a protected board without its switches are refused', async () => {
    const devices = await claimsOf('set/hgx-ppcie-no-switches-570.172.08');
    expect(codes(devices)).toEqual(['gpu-set-switches', 'gpu-set-topology']);
  });
});
