import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { isRefusal } from '../../../attestation/core/refusal.ts';
import { NvmlSystem } from '../../../native/nvml/nvml.ts';
import {
  CERTIFICATES_BYTES,
  readAttestationChain,
  readAttestationReport,
  readConfidentialCompute,
  readFabric,
  settingsRequest,
} from '../../../native/nvml/structures.ts';
import { buildFakeNvml, type FakeGpu, type FakeNvml } from '../../support/fake-nvml.ts';
import { missingCompiler } from '../../support/programs.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';

const NONCE = new Uint8Array(32).map((_byte, i) => i + 1);

/** A GPU whose report is its number and then the nonce, again and again up to the length. */
function plainGpu(number: number, reportBytes = 4117): FakeGpu {
  const chain = new Uint8Array(4800).fill(64 + number);
  const report = (nonce: Uint8Array): Uint8Array =>
    Uint8Array.from({ length: reportBytes }, (_, i) => (i === 0 ? number : nonce[(i - 1) % 32]!));
  return { chain, report };
}

const missing = missingCompiler();

describe.skipIf(missing.length > 0)(`GPUs by NVML (missing: ${missing.join(', ') || 'nothing'})`, () => {
  let folder: string;
  let nvml: FakeNvml;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-nvml-'));
    nvml = await buildFakeNvml(folder);
  });
  afterEach(() => {
    nvml.release();
    expect(nvml.get('initialised')).toBe(0);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function withGpus<T>(gpus: readonly FakeGpu[], use: (system: NvmlSystem) => Promise<T>): Promise<T> {
    nvml.reset(gpus);
    return await opened(use);
  }

  async function opened<T>(use: (system: NvmlSystem) => Promise<T>, callSeconds?: number): Promise<T> {
    const limit = callSeconds === undefined ? {} : { callSeconds };
    const system = await NvmlSystem.open({ library: nvml.library, ...limit });
    try {
      return await use(system);
    } finally {
      await system.close();
    }
  }

  it('NA-5: finds the GPUs in the driver’s order', async () => {
    await withGpus([plainGpu(0), plainGpu(1), plainGpu(2)], (system) => {
      expect(system.driverVersion).toBe('580.95.05');
      expect(system.gpus.map(({ name }) => name)).toEqual(
        ['abc000', 'abc001', 'abc002'].map((end) => `GPU-00000000-0000-4000-8000-000000${end}`),
      );
      expect(system.gpus.map(({ architecture }) => architecture)).toEqual(['Hopper', 'Hopper', 'Hopper']);
      return Promise.resolve();
    });
  });

  it('NA-12, NA-13: asks the right GPU with the nonce, and cuts report and chain to their sizes', async () => {
    const gpus = [plainGpu(0), plainGpu(1, 8192)];
    await withGpus(gpus, async (system) => {
      for (const [i, gpu] of system.gpus.entries()) {
        expect(await gpu.attestationReport(NONCE)).toEqual(gpus[i]!.report(NONCE));
        expect(await gpu.certificateChain()).toEqual(gpus[i]!.chain);
      }
    });
  });

  it('NA-6: calls that are made side by side do not disturb each other', async () => {
    const gpus = [0, 1, 2, 3].map((number) => plainGpu(number));
    await withGpus(gpus, async (system) => {
      const nonces = gpus.map((_, i) => new Uint8Array(32).fill(i + 100));
      const reports = await Promise.all(system.gpus.map((gpu, i) => gpu.attestationReport(nonces[i]!)));
      expect(reports).toEqual(gpus.map((gpu, i) => gpu.report(nonces[i]!)));
    });
  });

  it('NA-4: refuses a nonce that is not 32 bytes before the driver sees it', async () => {
    await withGpus([plainGpu(0)], async ({ gpus: [gpu] }) => {
      expect(await refusalCodeAsync(() => gpu!.attestationReport(new Uint8Array(31)))).toBe('layout-value');
      expect(nvml.get('calls:nvmlDeviceGetConfComputeGpuAttestationReport')).toBe(0);
    });
  });

  it('NA-8: tells the state of confidential computing', async () => {
    await withGpus([plainGpu(0)], async (system) => {
      expect(await system.confidentialCompute()).toEqual({
        environment: 'production',
        enabled: true,
        devTools: false,
        multiGpuMode: 'none',
      });
      nvml.set('environment', 1);
      nvml.set('enabled', 0);
      nvml.set('devTools', 1);
      nvml.set('multiGpuMode', 2);
      expect(await system.confidentialCompute()).toEqual({
        environment: 'simulation',
        enabled: false,
        devTools: true,
        multiGpuMode: 'nvlink-encryption',
      });
    });
  });

  it('NA-8: refuses a state and settings that disagree', async () => {
    await withGpus([plainGpu(0)], async (system) => {
      nvml.set('otherDevTools', 1);
      expect(await refusalCodeAsync(() => system.confidentialCompute())).toBe('nvml-answer');
    });
  });

  it('reads and sets the ready state', async () => {
    await withGpus([plainGpu(0)], async (system) => {
      expect(await system.acceptsWork()).toBe(false);
      await system.setAcceptsWork(true);
      expect(nvml.get('ready')).toBe(1);
      expect(await system.acceptsWork()).toBe(true);
      await system.setAcceptsWork(false);
      expect(nvml.get('ready')).toBe(0);
    });
  });

  it.each([
    [0, 'not-supported'],
    [3, 'completed'],
  ])('tells fabric state %i', async (number, state) => {
    await withGpus([plainGpu(0)], async ({ gpus: [gpu] }) => {
      nvml.set('fabricState', number);
      expect(await gpu!.fabric()).toEqual({ state, status: 0 });
    });
  });

  it.each([
    ['a report that is larger than its room', 'moreReport', 0x2000, 'layout-value'],
    ['a chain that is larger than its room', 'moreChain', 0x1400, 'layout-value'],
    ['an unknown environment', 'environment', 3, 'layout-value'],
    ['an unknown mode of several GPUs', 'multiGpuMode', 3, 'layout-value'],
    ['an unknown ready state', 'ready', 2, 'layout-value'],
    ['an unknown fabric state', 'fabricState', 4, 'layout-value'],
  ] as const)('NA-4: refuses %s', async (_name, value, number, code) => {
    await withGpus([plainGpu(0)], async (system) => {
      nvml.set(value, number);
      const everything = async (): Promise<void> => {
        const [gpu] = system.gpus;
        await gpu!.attestationReport(NONCE);
        await gpu!.certificateChain();
        await gpu!.fabric();
        await system.confidentialCompute();
        await system.acceptsWork();
      };
      expect(await refusalCodeAsync(everything)).toBe(code);
    });
  });

  it('NA-4: refuses a report and a chain of no bytes', async () => {
    await withGpus([{ chain: new Uint8Array(), report: () => new Uint8Array() }], async ({ gpus: [gpu] }) => {
      expect(await refusalCodeAsync(() => gpu!.attestationReport(NONCE))).toBe('nvml-answer');
      expect(await refusalCodeAsync(() => gpu!.certificateChain())).toBe('nvml-answer');
    });
  });

  it.each([
    [
      'has no end',
      () => {
        nvml.set('endlessText', 1);
      },
    ],
    [
      'is something else',
      () => {
        nvml.version('580.95; reboot');
      },
    ],
    [
      'is empty',
      () => {
        nvml.version('');
      },
    ],
  ])('NA-4: refuses a driver version that %s, and closes', async (_name, prepare) => {
    nvml.reset([plainGpu(0)]);
    prepare();
    expect(await refusalCodeAsync(() => opened(() => Promise.resolve()))).toBe('nvml-answer');
  });

  it('NA-7: refuses more GPUs than a machine can have', async () => {
    nvml.reset([plainGpu(0)]);
    nvml.set('count', 17);
    expect(await refusalCodeAsync(() => opened(() => Promise.resolve()))).toBe('layout-value');
  });

  it.each([
    [3, 'nvml-not-supported', 'NOT_SUPPORTED (3)'],
    [4, 'nvml-not-permitted', 'NO_PERMISSION (4)'],
    [9, 'nvml-driver-not-loaded', 'DRIVER_NOT_LOADED (9)'],
    [12, 'nvml-library-missing', 'LIBRARY_NOT_FOUND (12)'],
    [13, 'nvml-library-old', 'FUNCTION_NOT_FOUND (13)'],
    [15, 'nvml-gpu-lost', 'GPU_IS_LOST (15)'],
    [18, 'nvml-driver-mismatch', 'LIB_RM_VERSION_MISMATCH (18)'],
    [19, 'nvml-busy', 'IN_USE (19)'],
    [999, 'nvml-call-failed', 'UNKNOWN (999)'],
    [12345, 'nvml-call-failed', 'an unknown error (12345)'],
    [-1, 'nvml-call-failed', 'an unknown error (-1)'],
  ])('NA-2, NA-3: return code %i becomes %s', async (number, code, found) => {
    await withGpus([plainGpu(0)], async ({ gpus: [gpu] }) => {
      nvml.fail('nvmlDeviceGetConfComputeGpuAttestationReport', number);
      await expect(gpu!.attestationReport(NONCE)).rejects.toMatchObject({ refusal: { code, found } });
    });
  });

  it.each(['nvmlInit_v2', 'nvmlDeviceGetCount_v2', 'nvmlDeviceGetHandleByIndex_v2', 'nvmlDeviceGetUUID'])(
    'NA-2: a driver that fails in %s is refused and left closed',
    async (name) => {
      nvml.reset([plainGpu(0)]);
      nvml.fail(name, 9);
      expect(await refusalCodeAsync(() => opened(() => Promise.resolve()))).toBe('nvml-driver-not-loaded');
    },
  );

  it('NA-2: confidential computing that is off shows when a report is asked for', async () => {
    await withGpus([plainGpu(0)], async ({ gpus: [gpu] }) => {
      nvml.set('enabled', 0);
      expect(await refusalCodeAsync(() => gpu!.attestationReport(NONCE))).toBe('nvml-not-supported');
    });
  });

  it('NA-2: a library that is missing, and one that lacks a function', async () => {
    const absent = join(folder, 'absent.so');
    expect(await refusalCodeAsync(() => NvmlSystem.open({ library: absent }))).toBe('nvml-library-missing');
    expect(await refusalCodeAsync(() => NvmlSystem.open({ library: 'libc.so.6' }))).toBe('nvml-library-old');
    nvml.reset();
  });

  it('NA-6: a call that hangs is refused in time, and nothing is called after it', async () => {
    nvml.reset([plainGpu(0)]);
    const system = await NvmlSystem.open({ library: nvml.library, callSeconds: 0.2 });
    const [gpu] = system.gpus;
    nvml.hang('nvmlDeviceGetConfComputeGpuAttestationReport');
    const late = gpu!.attestationReport(NONCE);
    const behind = gpu!.certificateChain();
    expect(await refusalCodeAsync(() => late)).toBe('nvml-timeout');
    expect(await refusalCodeAsync(() => behind)).toBe('nvml-timeout');
    expect(await refusalCodeAsync(() => system.acceptsWork())).toBe('nvml-timeout');
    await system.close();
    expect(nvml.get('calls:nvmlDeviceGetConfComputeGpuCertificate')).toBe(0);
    expect(nvml.get('calls:nvmlSystemGetConfComputeGpusReadyState')).toBe(0);
    expect(nvml.get('calls:nvmlShutdown')).toBe(0);
    nvml.release();
    nvml.reset();
  });

  it('is closed once, and asked nothing afterwards', async () => {
    nvml.reset([plainGpu(0)]);
    const system = await NvmlSystem.open({ library: nvml.library });
    await system.close();
    await system.close();
    expect(nvml.get('calls:nvmlShutdown')).toBe(1);
    expect(await refusalCodeAsync(() => system.gpus[0]!.attestationReport(NONCE))).toBe('nvml-closed');
    expect(await refusalCodeAsync(() => system.setAcceptsWork(true))).toBe('nvml-closed');
  });
});

describe('structures that a library filled', () => {
  const readers = [
    (bytes: Uint8Array) => readAttestationReport(bytes, 'report'),
    (bytes: Uint8Array) => readAttestationChain(bytes, 'chain'),
    (bytes: Uint8Array) => readConfidentialCompute(bytes.subarray(0, 12), bytes.subarray(12)),
    (bytes: Uint8Array) => readFabric(bytes, 'fabric'),
  ];

  it.each([...readers.entries()])(
    'NA-4: whatever is written, the only errors are refusals (%i)',
    (_i, read) => {
      const sizes = [12332, CERTIFICATES_BYTES, 12 + settingsRequest().length, 36];
      const anyBytes = fc.oneof(...sizes.map((size) => fc.uint8Array({ minLength: 0, maxLength: size })));
      fc.assert(
        fc.property(anyBytes, fc.constantFrom(...sizes), (head, size) => {
          const bytes = new Uint8Array(size);
          bytes.set(head.subarray(0, size));
          try {
            read(bytes);
          } catch (error) {
            expect(isRefusal(error)).toBe(true);
          }
        }),
        { numRuns: 200 },
      );
    },
  );
});
