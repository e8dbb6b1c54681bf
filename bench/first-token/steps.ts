/** The way of an agent from its start to its first token, step by step, and what is beside it. */

import { execFile } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { startEngine } from '../../src/agent/engine/process-engine.ts';
import { MODEL, type Road } from '../../test/support/road.ts';
import { MODEL_FILE } from '../../test/support/road-model.ts';
import { timeAnswer } from './answer.ts';

const GENERATOR = join(import.meta.dirname, '..', '..', 'scripts', 'tiny-model', 'main.ts');
const ENGINE_START_MILLISECONDS = 600_000;
/** As the agent has them. */
const CONTEXT_TOKENS = 2048;
const ENGINE_SLOTS = 4;
/** Long enough to fill what the guard holds back. */
const LONG_ANSWER_TOKENS = 256;

/** All in milliseconds. */
export type Step = (typeof STEPS)[number];
export type Timeline = Readonly<Record<Step, number>>;

/** What each is measured by: a line that `weightgate agent run` prints, or a piece of an answer. */
export const STEPS = ['attest', 'key', 'unseal', 'load', 'serve', 'first token', 'whole'] as const;

export interface AgentRun {
  readonly steps: Timeline;
  /** The first piece of a long answer, which has waited until the guard had seen what it holds back. */
  readonly heldBack: number | undefined;
}

/** Makes a model of random weights in a new folder. There is no pattern in it to be found. */
export async function makeRandomModel(folder: string, parameters: number): Promise<Uint8Array> {
  await mkdir(folder);
  const size = ['--random', '--parameters', String(parameters)];
  await promisify(execFile)(process.execPath, [
    '--no-warnings',
    GENERATOR,
    ...size,
    '--out',
    join(folder, MODEL_FILE),
  ]);
  return new Uint8Array();
}

/** Runs an agent up to its first token, and stops it. */
export async function timeAgent(road: Road): Promise<AgentRun> {
  const startedAt = performance.now();
  const agent = road.startAgent();
  try {
    const reached: number[] = [startedAt];
    const at = async (line: string): Promise<string> => {
      const rest = await agent.line(line);
      reached.push(performance.now());
      return rest;
    };
    for (const line of ['enrolled: ', 'granted: ', 'unsealed: ', 'engine: ']) await at(line);
    const address = await at('listening: ');
    const { end } = await timeAnswer(address, MODEL, 1);
    reached.push(performance.now());
    const long = await timeAnswer(address, MODEL, LONG_ANSWER_TOKENS);
    const [attest = 0, key = 0, unseal = 0, load = 0, serve = 0] = reached
      .slice(1)
      .map((time, i) => time - (reached[i] ?? 0));
    const steps = { attest, key, unseal, load, serve, 'first token': end };
    return {
      steps: { ...steps, whole: attest + key + unseal + load + serve + end },
      heldBack: long.text,
    };
  } finally {
    await agent.stop();
  }
}

/** The time of a command that does nothing, in milliseconds: what every command takes to start. */
export async function timeStart(road: Road): Promise<number> {
  const startedAt = performance.now();
  await road.succeed('--version');
  return performance.now() - startedAt;
}

export interface PlainRun {
  readonly load: number;
  readonly firstToken: number;
}

/** The same engine on the same model as it lies in a plain file, without attestation, key and guard. */
export async function timePlainEngine(road: Road, signal: AbortSignal): Promise<PlainRun> {
  const file = await open(join(road.path('model'), MODEL_FILE), 'r');
  try {
    const startedAt = performance.now();
    const engine = await startEngine({
      ...{
        weightsDescriptor: file.fd,
        contextTokens: CONTEXT_TOKENS,
        slots: ENGINE_SLOTS,
        queueLimit: 0,
        signal,
      },
      // As the agent does.
      threads: Math.max(1, Math.floor(availableParallelism() / 2)),
      startMilliseconds: ENGINE_START_MILLISECONDS,
    });
    try {
      const loadedAt = performance.now();
      const request = {
        ...{ completionTokens: 1, temperature: 0, topProbability: 1, stop: [] },
        messages: [{ role: 'user', content: 'What is a lighthouse?' }],
      } as const;
      for await (const event of engine.generate(request, signal)) if (event.kind === 'end') break;
      return { load: loadedAt - startedAt, firstToken: performance.now() - loadedAt };
    } finally {
      await engine.close();
    }
  } finally {
    await file.close();
  }
}
