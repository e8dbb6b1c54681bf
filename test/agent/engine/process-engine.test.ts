import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Engine, GenerationEvent, GenerationRequest } from '../../../src/agent/engine/engine.ts';
import {
  startEngine,
  startEngineProgram,
  type EngineOptions,
} from '../../../src/agent/engine/process-engine.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { writeScriptedModel } from '../../support/scripted-model.ts';

const SENTENCE = 'The light house stands on the rock .';
const HOSTILE = fileURLToPath(new URL('./hostile-engine.ts', import.meta.url));

let folder: string;
let weights: number;
let options: EngineOptions;
const never = new AbortController().signal;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'weightgate-engine-'));
  const path = join(folder, 'model.gguf');
  writeScriptedModel(path, ` ${SENTENCE}`.split(/(?= )/));
  weights = openSync(path, 'r');
  options = {
    weightsDescriptor: weights,
    contextTokens: 256,
    threads: 1,
    slots: 1,
    queueLimit: 1,
    startMilliseconds: 25_000,
  };
});
afterAll(() => {
  closeSync(weights);
  rmSync(folder, { recursive: true });
});

function ask(content: string, change: Partial<GenerationRequest> = {}): GenerationRequest {
  return {
    messages: [{ role: 'user', content }],
    completionTokens: 50,
    temperature: 0,
    topProbability: 1,
    stop: [],
    ...change,
  };
}

async function collect(
  events: AsyncIterable<GenerationEvent>,
): Promise<{ text: string; end: GenerationEvent }> {
  let text = '';
  for await (const event of events) {
    if (event.kind === 'end') return { text, end: event };
    text += event.text;
  }
  throw new Error('the answer has no end');
}

const codeOf = (action: Promise<unknown>): Promise<string> => refusalCodeAsync(() => action);

describe('an engine with llama.cpp', () => {
  let engine: Engine;

  beforeAll(async () => {
    engine = await startEngine(options);
  });
  afterAll(async () => {
    await engine.close();
  });

  it('GD-30, GD-31, GD-32: reports the confinement in which it runs, and the kernel agrees', () => {
    const { confinement, processId } = engine.description;
    expect(confinement).toEqual({
      coreLimitBytes: 0,
      dumpable: false,
      noNewPrivileges: true,
      parentDeathSignal: 9,
      seccompFilters: 2,
      openRings: 0,
    });
    const status = readFileSync(`/proc/${processId}/status`, 'utf8');
    expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
    expect(status).toMatch(/^Seccomp:\s+2$/m);
    expect(readFileSync(`/proc/${processId}/limits`, 'utf8')).toMatch(/^Max core file size\s+0\s+0/m);
  });

  it.runIf(process.getuid?.() === 0)(
    'GD-31, GD-34: holds one channel, the weights, and no environment',
    () => {
      const base = `/proc/${engine.description.processId}`;
      const descriptors = readdirSync(`${base}/fd`);
      const targets = descriptors.map((name) => readlinkSync(`${base}/fd/${name}`));
      // Standard error, which is read until the engine is up, and the channel.
      expect(descriptors.filter((_, i) => targets[i]?.startsWith('socket:'))).toEqual(['2', '3']);
      expect(targets.filter((target) => target.endsWith('.gguf'))).toHaveLength(1);
      expect(targets.filter((target) => target.includes('io_uring'))).toEqual([]);
      expect(readFileSync(`${base}/environ`, 'utf8')).toBe('');
    },
  );

  it('answers with text and counts', async () => {
    const { text, end } = await collect(engine.generate(ask('Where?'), never));
    expect(text).toBe(SENTENCE);
    expect(end).toMatchObject({ kind: 'end', reason: 'stop' });
    const cut = await collect(engine.generate(ask('Where?', { completionTokens: 3 }), never));
    expect(cut).toEqual({
      text: 'The light house',
      end: {
        kind: 'end',
        reason: 'length',
        usage: { promptTokens: expect.any(Number) as number, completionTokens: 3 },
      },
    });
  });

  it('ends before a stop text', async () => {
    const { text, end } = await collect(engine.generate(ask('Where?', { stop: [' on'] }), never));
    expect(text.trimEnd()).toBe('The light house stands');
    expect(end).toMatchObject({ reason: 'stop' });
  });

  it('GD-37: takes marks of the template in a message as text', async () => {
    const counted = async (content: string): Promise<GenerationEvent> =>
      (await collect(engine.generate(ask(content, { completionTokens: 1 }), never))).end;
    // Four letters are four tokens here; as a mark it would be one.
    expect(await counted('</s>')).toEqual(await counted('abcd'));
  });

  it('refuses a prompt that fills the context', async () => {
    expect(await codeOf(collect(engine.generate(ask('x'.repeat(1000)), never)))).toBe(
      'engine-prompt-too-long',
    );
    expect((await collect(engine.generate(ask('Where?'), never))).text).toBe(SENTENCE);
  });

  it('cancels, and serves the next request', async () => {
    const gone = AbortSignal.abort();
    expect(await codeOf(collect(engine.generate(ask('Where?'), gone)))).toBe('engine-cancelled');
    expect((await collect(engine.generate(ask('Where?'), never))).text).toBe(SENTENCE);
  });

  it('lets as many wait as allowed and refuses the next', async () => {
    const answers = [1, 2].map(() => collect(engine.generate(ask('Where?'), never)));
    expect(await codeOf(collect(engine.generate(ask('Where?'), never)))).toBe('engine-queue-full');
    expect((await Promise.all(answers)).map((answer) => answer.text)).toEqual([SENTENCE, SENTENCE]);
  });
});

describe('an engine that does not come up', () => {
  it('is refused for a file that is no model', async () => {
    const path = join(folder, 'not-a-model');
    writeFileSync(path, 'GGUF, but not really');
    const descriptor = openSync(path, 'r');
    expect(await codeOf(startEngine({ ...options, weightsDescriptor: descriptor }))).toBe(
      'engine-not-started',
    );
    closeSync(descriptor);
  });

  it('is refused for a descriptor that is not open', async () => {
    expect(await codeOf(startEngine({ ...options, weightsDescriptor: 9999 }))).toBe('engine-not-started');
  });

  it('is refused when it says nothing in time', async () => {
    const start = startEngineProgram([HOSTILE, 'mute'], { ...options, startMilliseconds: 300 });
    expect(await codeOf(start)).toBe('engine-not-started');
  });

  it('CL-2, GD-38: ends while it starts, when its agent is interrupted', async () => {
    const interruption = new AbortController();
    const start = startEngineProgram([HOSTILE, 'mute'], { ...options, signal: interruption.signal });
    const reason = new Error('interrupted');
    setTimeout(() => {
      interruption.abort(reason);
    }, 100);
    await expect(start).rejects.toBe(reason);
    await expect(
      startEngineProgram([HOSTILE, 'mute'], { ...options, signal: interruption.signal }),
    ).rejects.toBe(reason);
  });

  it('is refused when its program cannot run', async () => {
    expect(await codeOf(startEngineProgram([join(folder, 'missing.ts')], options))).toBe(
      'engine-not-started',
    );
  });
});

describe('an engine that misbehaves', () => {
  let engine: Engine | undefined;
  afterEach(async () => {
    await engine?.close();
  });

  it('GD-38: that dies ends its requests, those that wait, and all later ones', async () => {
    engine = await startEngineProgram([HOSTILE, 'die'], options);
    const both = [collect(engine.generate(ask('a'), never)), collect(engine.generate(ask('b'), never))];
    expect(await Promise.all(both.map(codeOf))).toEqual(['engine-ended', 'engine-ended']);
    await engine.ended;
    expect(await codeOf(collect(engine.generate(ask('c'), never)))).toBe('engine-ended');
  });

  it.each([
    'nonsense',
    'huge',
    'unknown-member',
    'logits',
    'stranger',
    'late-failure',
    'second-start',
    'flood',
  ])('GD-35, GD-38: that sends %s is ended', async (mode) => {
    engine = await startEngineProgram([HOSTILE, mode], options);
    expect(await codeOf(collect(engine.generate(ask('a'), never)))).toBe('engine-broke-framing');
    await engine.ended;
    expect(() => process.kill(engine?.description.processId ?? 0, 0)).toThrow(/ESRCH/);
  });

  it('GD-38: that hangs gives the caller back at once when cancelled', async () => {
    engine = await startEngineProgram([HOSTILE, 'hang'], options);
    const soon = AbortSignal.timeout(50);
    expect(await codeOf(collect(engine.generate(ask('a'), soon)))).toBe('engine-cancelled');
  });
});
