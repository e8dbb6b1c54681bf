/**
 * The agent: from a sealed bundle and an attested machine to a model that answers, and back to nothing when its lease ends. This file
 * is the order of things; what each step checks stands where the step does.
 */

import { availableParallelism } from 'node:os';

import { toHex } from '../../attestation/core/bytes.ts';
import { isRefusal, RefusalError, type Refusal } from '../../attestation/core/refusal.ts';
import { requireNothingToSwapTo } from '../../native/memory/available.ts';
import { KeyMemory } from '../../native/memory/key-memory.ts';
import { hardenProcess } from '../../native/process/confinement.ts';
import { Guard } from '../guard/guard.ts';
import type { InferencePolicy } from '../guard/policy.ts';
import type { SleepingClock } from '../platform/clock.ts';
import type { Logger } from '../platform/logging.ts';
import type { SealedBundle } from '../sealed/reader.ts';
import type { LeaseReport } from './api/answer.ts';
import { createInferenceApi } from './api/app.ts';
import { listenInferenceApi } from './api/listen.ts';
import type { Engine } from './engine/engine.ts';
import { startEngine } from './engine/process-engine.ts';
import { enrol, requestRelease, type KeyReleaseOptions, type ReleasedKey } from './key-release.ts';
import { LeaseKeeper, leaseRefusals, type HeldLease } from './lease.ts';
import { LeaseClock, type LeaseClockState } from './lease-clock-reader.ts';
import { openMachine, usesTpm, type MachineOptions, type OpenMachine } from './machine.ts';
import { verifyGpus, type GpuJudgement } from './nvidia-gpu/agent-gpus.ts';
import type { ReadyGpus } from './nvidia-gpu/ready-gpus.ts';
import { TpmClock } from './tpm/lease-clock-tpm.ts';
import { measuredMachine } from './self-measurement.ts';
import { chooseModelFile, openWeights, type Weights } from './weights.ts';

/** What happens, for whoever watches. Nothing in it is secret. */
export type AgentStep =
  | { readonly step: 'remark'; readonly text: string }
  | { readonly step: 'enrolled'; readonly attestationKeyName: string }
  | { readonly step: 'granted'; readonly leaseSeconds: number; readonly logIndex: bigint }
  /** What the server signed about this machine, after each grant (docs/spec/attestation-result.md). */
  | { readonly step: 'attested'; readonly attestationResult: string }
  | { readonly step: 'unsealing'; readonly doneBytes: number; readonly totalBytes: number }
  | {
      readonly step: 'unsealed';
      readonly bytes: number;
      readonly protection: Weights['memory']['protection'];
    }
  | { readonly step: 'engine'; readonly description: Engine['description'] }
  /** What the length of leases is counted by (docs/spec/lease-clock.md). */
  | { readonly step: 'lease-clock'; readonly sources: LeaseClockState['sources'] }
  | { readonly step: 'listening'; readonly address: string }
  | { readonly step: 'renewed'; readonly leaseSeconds: number }
  | { readonly step: 'renewal-failed'; readonly refusal: Refusal };

export interface AgentOptions {
  readonly release: KeyReleaseOptions & { readonly clock: SleepingClock };
  readonly bundle: SealedBundle;
  readonly policy: InferencePolicy;
  readonly machine: MachineOptions;
  /** Where the logs of what the agent measures of itself stand. */
  readonly agentLogFolder: string;
  /** By what GPUs are judged before they work; needed where the machine's GPUs are used. */
  readonly gpus?: GpuJudgement;
  readonly modelFile?: string;
  readonly engine: { readonly contextTokens: number; readonly threads?: number; readonly gpu?: boolean };
  readonly listen: { readonly host: string; readonly port: number };
  readonly apiKey?: string;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  readonly onStep: (step: AgentStep) => void;
}

const ENGINE_START_MILLISECONDS = 10 * 60 * 1000;
/** Requests answered at the same time, and those that may wait besides. */
const ENGINE_SLOTS = 4;
const ENGINE_QUEUE_LIMIT = 64;

/** What the exchanges of one agent have in common. */
interface Exchange extends AgentOptions {
  /** The GPUs that this agent has verified; undefined where it uses none. */
  readonly readyGpus: ReadyGpus | undefined;
  readonly tpmClock: TpmClock;
  /** What leases are counted by. */
  readonly leaseClock: LeaseClock;
}

export interface RunningAgent {
  /** Where the model answers, for example `http://127.0.0.1:8080`. */
  readonly address: string;
  /** Settles with the reason when the lease ends or the engine dies; everything is closed and zeroised by then. */
  readonly ended: Promise<Refusal>;
  close(): Promise<void>;
}

/**
 * Brings a model up. When this throws, nothing is left: no process, no plaintext, no open TPM.
 *
 * @throws RefusalError of every step: `sealed-*`, `tpm-*`, `nvml-*`, `server-*`, what the server refuses, `grant-*`,
 *   `log-*`, `memory-*`, `engine-*`, `api-address`
 */
export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  hardenProcess();
  requireNothingToSwapTo();
  await using undo = new AsyncDisposableStack();
  const modelFile = chooseModelFile(options.bundle, options.modelFile);
  const readyGpus = await verifyGpus(options, undo, (text) => {
    options.onStep({ step: 'remark', text });
  });
  const machine = measuredMachine(options);
  const exchange = { ...options, machine, readyGpus, ...(await beginLeaseClock(options)) };
  const released = await attestAndRelease(exchange, null);
  const modelKey = KeyMemory.take(released.modelKey);
  undo.defer(() => {
    modelKey.close();
  });
  // Kept from here on: a lease can end while the model is still being loaded (W7).
  const lease = new ServedLease(exchange, released);
  undo.defer(() => {
    lease.stop();
  });
  try {
    const signal = AbortSignal.any([options.signal, lease.over]);
    const weights = await unsealWeights({ ...options, signal }, modelFile, modelKey, undo);
    modelKey.close();
    await readyGpus?.open();
    const engine = await startModelEngine({ ...options, signal }, weights);
    undo.defer(() => engine.close());
    const address = await serveModel(options, engine, lease, undo);
    return runningAgent(address, engine, lease, undo.move());
  } catch (error) {
    // What the end of the lease interrupted is less than the reason for its end.
    throw lease.endedBy === undefined ? error : leaseOver(lease.endedBy);
  }
}

/** Lease time begins before the first lease is asked for, so that a machine without it asks for none. */
async function beginLeaseClock({
  machine,
  release,
  onStep,
}: AgentOptions): Promise<Pick<Exchange, 'tpmClock' | 'leaseClock'>> {
  const tpmClock = new TpmClock(machine.tpm.address);
  const read = (await usesTpm(machine)) ? () => tpmClock.read() : undefined;
  const leaseClock = await LeaseClock.begin(release.clock, read);
  onStep({ step: 'lease-clock', sources: leaseClock.state.sources });
  return { tpmClock, leaseClock };
}

function runningAgent(
  address: string,
  engine: Engine,
  lease: ServedLease,
  undo: AsyncDisposableStack,
): RunningAgent {
  const close = (): Promise<void> => undo.disposeAsync();
  const reason = Promise.race([lease.ended, engine.ended.then(engineGone)]);
  const ended = reason.then(async (refusal) => {
    await close();
    return refusal;
  });
  return { address, ended, close };
}

/** The end of a lease as the error that ends the agent. */
export function leaseOver(reason: Refusal): RefusalError {
  return new RefusalError('unacceptable', reason);
}

function engineGone(): Refusal {
  return leaseRefusals.refusal('lease-engine-gone', {
    field: 'engine',
    expected: 'a running engine',
    found: 'none',
  });
}

async function unsealWeights(
  { bundle, signal, onStep }: AgentOptions,
  modelFile: string,
  modelKey: KeyMemory,
  undo: AsyncDisposableStack,
): Promise<Weights> {
  const weights = await openWeights(bundle, modelFile, modelKey, {
    signal,
    onProgress: (progress) => {
      onStep({ step: 'unsealing', ...progress });
    },
  });
  undo.defer(() => {
    weights.close();
  });
  const { bytes, protection } = weights.memory;
  onStep({ step: 'unsealed', bytes, protection });
  return weights;
}

/** The devices are opened for each exchange and left to others in between. */
async function attestAndRelease(options: Exchange, renews: string | null): Promise<ReleasedKey> {
  const { release, bundle, policy, onStep } = options;
  const machine = await openMachine(options.machine);
  try {
    options.readyGpus?.requireSame(machine.attesters);
    if (renews === null) await announce(options, machine);
    const subject = {
      manifestDigest: bundle.manifest.digest,
      inferencePolicyDigest: toHex(policy.digest),
      renews,
    };
    const counted = { ...release, clock: options.leaseClock.asClock(release.clock) };
    const released = await options.tpmClock.during(machine.tpm, () =>
      requestRelease(counted, subject, machine.attesters),
    );
    const leaseSeconds = released.lease.endsAt - released.lease.startsAt;
    if (renews === null) onStep({ step: 'granted', leaseSeconds, logIndex: released.logIndex });
    else onStep({ step: 'renewed', leaseSeconds });
    onStep({ step: 'attested', attestationResult: released.attestationResult });
    return released;
  } finally {
    await machine.close();
  }
}

/** Once for each agent: a TPM proves where its key lives; of other devices each report says it. */
async function announce({ release, onStep }: AgentOptions, { tpm, remarks }: OpenMachine): Promise<void> {
  for (const text of remarks) onStep({ step: 'remark', text });
  if (tpm === undefined) return;
  await enrol(release, tpm);
  onStep({ step: 'enrolled', attestationKeyName: toHex(tpm.attestationKeyName) });
}

async function startModelEngine(options: AgentOptions, weights: Weights): Promise<Engine> {
  const { contextTokens, threads, gpu } = options.engine;
  const engine = await startEngine({
    weightsDescriptor: weights.memory.fileDescriptor,
    contextTokens,
    threads: threads ?? defaultThreads(),
    slots: ENGINE_SLOTS,
    queueLimit: ENGINE_QUEUE_LIMIT,
    startMilliseconds: ENGINE_START_MILLISECONDS,
    signal: options.signal,
    ...(gpu === undefined ? {} : { gpu }),
  });
  options.onStep({ step: 'engine', description: engine.description });
  return engine;
}

/** One for each physical core: llama.cpp's threads spin, and two on one core wait for each other. */
function defaultThreads(): number {
  return Math.max(1, Math.floor(availableParallelism() / 2));
}

/** A lease as the inference interface sees it: held or over, with a signal that ends what runs. */
class ServedLease {
  readonly ended: Promise<Refusal>;
  /** Why the lease ended; undefined while it is held. */
  endedBy: Refusal | undefined;
  private readonly keeper: LeaseKeeper;
  private readonly clock: LeaseClock;
  private readonly controller = new AbortController();

  constructor(options: Exchange, held: HeldLease) {
    const { promise, resolve } = Promise.withResolvers<Refusal>();
    this.ended = promise;
    this.clock = options.leaseClock;
    this.keeper = new LeaseKeeper(held, {
      clock: options.leaseClock,
      renew: async ({ lease }) => {
        const renewed = await attestAndRelease(options, lease);
        renewed.modelKey.fill(0);
        return renewed;
      },
      onEnd: (reason) => {
        this.endedBy = reason;
        this.controller.abort();
        resolve(reason);
      },
      onRenewal: (outcome) => {
        if (isRefusal(outcome)) options.onStep({ step: 'renewal-failed', refusal: outcome.refusal });
      },
    });
  }

  get isHeld(): boolean {
    return this.keeper.isHeld;
  }

  get over(): AbortSignal {
    return this.controller.signal;
  }

  confirm(): Promise<void> {
    return this.clock.confirm();
  }

  get state(): LeaseReport {
    const { isHeld, remainingMilliseconds } = this.keeper;
    return {
      held: isHeld,
      remainingSeconds: Math.floor(remainingMilliseconds / 1000),
      clock: this.clock.state,
    };
  }

  stop(): void {
    this.keeper.stop();
    this.controller.abort();
  }
}

async function serveModel(
  options: AgentOptions,
  engine: Engine,
  lease: ServedLease,
  undo: AsyncDisposableStack,
): Promise<string> {
  const { bundle, policy, logger, release, apiKey } = options;
  const { name } = bundle.manifest.model;
  const api = createInferenceApi({
    engine,
    guard: new Guard(policy, release.clock),
    lease,
    model: { id: name, ownedBy: release.profile.origin },
    clock: release.clock,
    logger,
    ...(apiKey === undefined ? {} : { apiKey }),
  });
  const listening = await listenInferenceApi(api, options.listen);
  undo.defer(() => listening.close());
  options.onStep({ step: 'listening', address: listening.url });
  return listening.url;
}
