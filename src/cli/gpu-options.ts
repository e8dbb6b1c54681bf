/** What `weightgate agent` is told of GPUs: where they are, and by what they are judged before they work (NA-17). */

import { Option, type Command } from 'commander';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { GpuJudgement } from '../agent/nvidia-gpu/agent-gpus.ts';
import type { JudgedBy } from '../agent/nvidia-gpu/own-verification.ts';
import type { NvidiaAddresses } from '../agent/nvidia-gpu/systems.ts';
import { systemClock } from '../platform/clock.ts';
import { gatherNvidiaCollateral } from '../platform/collateral/nvidia-collateral.ts';
import { NvidiaServices } from '../platform/collateral/nvidia-services.ts';
import { collect, reasonArgument } from './arguments.ts';
import { readNvidiaAnchors } from './collateral-nvidia.ts';
import { openNvidiaCollateral } from './collateral-shelves.ts';
import { readDocument } from './evidence-files.ts';
import { usageRefusals } from './failure.ts';
import { nvidiaGpuOption, remark } from './options.ts';

export interface GpuAddressOptions {
  readonly nvidiaGpu: string;
  readonly nvswitch: string;
}

export interface GpuJudgementOptions {
  readonly gpuPolicy?: string;
  readonly nvswitchPolicy?: string;
  readonly gpuReference: readonly string[];
  readonly gpuCollateral?: string;
  readonly gpuFetch?: true;
  readonly simulatedRoot: readonly string[];
  readonly simulatedManifestRoot: readonly string[];
  readonly acceptReadyGpus?: string;
}

export function addGpuAddresses(command: Command): Command {
  return command
    .addOption(nvidiaGpuOption())
    .option('--nvswitch <address>', 'the switches between GPUs: nscq, nscq:PATH, simulated:FOLDER', 'none');
}

export function addGpuJudgement(command: Command): Command {
  return command
    .option('--gpu-policy <file>', 'appraisal policy for GPUs; none works before it was judged by it')
    .option('--nvswitch-policy <file>', 'appraisal policy for the switches between them')
    .addOption(several('--gpu-reference <file>', 'reference values for GPUs and switches; several times'))
    .option('--gpu-collateral <folder>', 'manifests and OCSP answers, as `collateral fetch` fills it')
    .option('--gpu-fetch', 'ask NVIDIA for what the folder lacks')
    .addOption(
      several('--simulated-root <file>', 'root of simulated GPUs in place of NVIDIA’s; several times'),
    )
    .addOption(
      several('--simulated-manifest-root <file>', 'root of manifests for simulated GPUs; several times'),
    )
    .option('--accept-ready-gpus <reason>', 'why GPUs may take work before they are judged', reasonArgument);
}

function several(flags: string, description: string): Option {
  return new Option(flags, description).argParser(collect).default([], 'none');
}

export function gpuAddresses({ nvidiaGpu, nvswitch }: GpuAddressOptions): NvidiaAddresses {
  return { gpus: nvidiaGpu, switches: nvswitch };
}

/**
 * @returns undefined where nothing is said of GPUs; an agent that uses some refuses then
 * @throws RefusalError `argument-invalid`, `file-*`, and what reading the files throws
 */
export async function gpuJudgement(options: GpuJudgementOptions): Promise<GpuJudgement | undefined> {
  const { gpuPolicy, nvswitchPolicy, gpuReference, acceptReadyGpus } = options;
  if (gpuPolicy === undefined) return undefined;
  const references = await Promise.all(gpuReference.map(readDocument));
  const gpu = await judgedBy(gpuPolicy, 'nvidia-gpu', references);
  const nvswitch = nvswitchPolicy && (await judgedBy(nvswitchPolicy, 'nvswitch', references));
  const anchors = await readNvidiaAnchors(options);
  return {
    verification: {
      anchors,
      judgedBy: { 'nvidia-gpu': gpu, ...(nvswitch ? { nvswitch } : {}) },
      collateral: await collateralOf(options),
      time: () => systemClock.posixSeconds(),
    },
    ...(acceptReadyGpus === undefined ? {} : { acceptReadyBecause: acceptReadyGpus }),
  };
}

/** Each class reads its own reference values alone; what names neither goes to both, which refuse it. */
async function judgedBy(
  path: string,
  className: string,
  references: readonly JsonValue[],
): Promise<JudgedBy> {
  const other = className === 'nvswitch' ? 'nvidia-gpu' : 'nvswitch';
  const isOfOther = (document: JsonValue): boolean =>
    typeof document === 'object' && document !== null && 'class' in document && document['class'] === other;
  const referenceValues = references.filter((document) => !isOfOther(document));
  return { policy: await readDocument(path), referenceValues };
}

async function collateralOf(
  options: GpuJudgementOptions,
): Promise<GpuJudgement['verification']['collateral']> {
  const { gpuCollateral: dir, gpuFetch } = options;
  if (dir === undefined) {
    throw usageRefusals.error('argument-invalid', {
      field: '--gpu-collateral',
      expected: 'a folder, with --gpu-policy',
      found: 'none',
    });
  }
  const source = await openNvidiaCollateral(
    { ...options, dir },
    gpuFetch === undefined ? undefined : new NvidiaServices(),
  );
  return async (devices) => {
    const { collateral, failures } = await gatherNvidiaCollateral(source, { devices, serviceKeys: false });
    for (const { code, field, expected, found } of failures) {
      remark(`collateral: ${field}: expected ${expected}, found ${found} [${code}]`);
    }
    return collateral;
  };
}
