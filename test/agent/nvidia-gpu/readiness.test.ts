import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import type { Finding } from '../../../src/agent/finding.ts';
import { examineGpus } from '../../../src/agent/nvidia-gpu/readiness.ts';
import { buildFakeNvml, type FakeNvml } from '../../support/fake-nvml.ts';
import { missingCompiler } from '../../support/programs.ts';

const GPU = { chain: new Uint8Array(10), report: (): Uint8Array => new Uint8Array(10) };

const missing = missingCompiler();

describe.skipIf(missing.length > 0)(`GPUs in doctor (missing: ${missing.join(', ') || 'nothing'})`, () => {
  let folder: string;
  let nvml: FakeNvml;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-doctor-'));
    nvml = await buildFakeNvml(folder);
  });
  afterEach(() => {
    expect(nvml.get('initialised')).toBe(0);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  const examine = (): Promise<readonly Finding[]> => examineGpus(`nvml:${nvml.library}`);

  /** `what readiness` of each line. */
  async function lines(): Promise<readonly string[]> {
    return (await examine()).map(({ what, readiness }) => `${what} ${readiness}`);
  }

  it('CL-9: a machine that an agent can use', async () => {
    nvml.reset([GPU, GPU]);
    expect(await examine()).toEqual([
      { what: 'GPU driver', readiness: 'ready', found: '580.95.05, 2 GPUs (Hopper)' },
      expect.objectContaining({ what: 'GPU mode', readiness: 'ready' }),
      expect.objectContaining({ what: 'GPU ready state', readiness: 'ready' }),
      { what: 'GPU fabric', readiness: 'ready', found: 'not-supported' },
    ]);
  });

  it.each([
    ['enabled', 0, 'GPU mode missing'],
    ['devTools', 1, 'GPU mode missing'],
    ['ready', 1, 'GPU ready state remark'],
    ['fabricState', 2, 'GPU fabric missing'],
  ] as const)('CL-9: says what is to be done where %s is %i', async (value, number, line) => {
    nvml.reset([GPU]);
    nvml.set(value, number);
    const findings = await examine();
    expect(await lines()).toContain(line);
    const [found, ...more] = findings.filter(({ readiness }) => readiness !== 'ready');
    expect(found?.fix).toMatch(/\w/);
    expect(more).toEqual([]);
  });

  it('CL-9: a driver that is not loaded is one line, and ends the examination', async () => {
    nvml.reset([GPU]);
    nvml.fail('nvmlInit_v2', 9);
    const [line, ...more] = await examine();
    expect(line).toMatchObject({
      readiness: 'missing',
      found: expect.stringContaining('[nvml-driver-not-loaded]') as string,
    });
    expect(more).toEqual([]);
  });

  it('CL-9: one thing that fails does not hide the others', async () => {
    nvml.reset([GPU]);
    nvml.fail('nvmlSystemGetConfComputeSettings', 999);
    expect(await lines()).toEqual([
      'GPU driver ready',
      'GPU mode missing',
      'GPU ready state ready',
      'GPU fabric ready',
    ]);
  });

  it('CL-9: GPUs that nobody asked for are never missing', async () => {
    const readiness = (await examineGpus('auto')).map((finding) => finding.readiness);
    expect(readiness.length).toBeGreaterThan(0);
    expect(readiness).not.toContain('missing');
  });
});
