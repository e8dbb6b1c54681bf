import { open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { getuid } from 'node:process';
import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { MODEL_FILE } from '../support/road-model.ts';
import {
  coreLimits,
  filesHolding,
  formsOf,
  holds,
  isMemoryFile,
  liesInMemory,
  mappedNames,
  networkSockets,
  openDescriptors,
  processesOfGroup,
  statusOf,
  type OpenDescriptor,
} from '../support/road-processes.ts';
import type { Program } from '../support/road-program.ts';
import { Road } from '../support/road.ts';
import { swtpmMissing } from '../support/swtpm.ts';

/** Only root may look into a process that cannot be dumped, and lock as much as it wants. */
const isRoot = getuid?.() === 0;
const GONE_MILLISECONDS = 2000;

describe.skipIf(swtpmMissing !== undefined)('W5: what a running agent leaves for others to find', () => {
  let road: Road;
  let modelBytes: number;
  let foundInPlaintext: readonly string[];
  let forms: readonly Buffer[];

  beforeAll(async () => {
    road = await Road.build();
    forms = formsOf(road.pattern);
    foundInPlaintext = await filesHolding(road.path('model'), forms);
    modelBytes = (await stat(road.path(`model/${MODEL_FILE}`))).size;
    // From here on the weights are plaintext nowhere below the folder.
    await rm(road.path('model'), { recursive: true });
    return () => road.close();
  }, 120_000);

  const engineOf = async (agent: Program): Promise<number> => {
    const description = await agent.line('engine: process ');
    return Number(/^\d+/.exec(description)?.[0]);
  };
  const plaintextOf = async (processId: number): Promise<readonly OpenDescriptor[]> => {
    const plaintext: OpenDescriptor[] = [];
    for (const file of await openDescriptors(processId)) {
      if (file.isFile && (await holds(file.path, forms))) plaintext.push(file);
    }
    return plaintext;
  };
  /** Files into which weights were written; nothing of the agent would encode them first. */
  const residue = (): Promise<readonly string[]> => filesHolding(road.folder, [Buffer.from(road.pattern)]);

  it('the search finds the planted pattern where it is', () => {
    expect(foundInPlaintext.map((path) => path.slice(road.path('model/').length)).sort()).toEqual([
      'marker.bin',
      'model.gguf',
      'token_topics.safetensors',
    ]);
  });

  it.each([0, 1, 2])('the search finds bytes that stand in base64 after %i others', async (before) => {
    const path = road.path('work/found');
    const text = Buffer.concat([Buffer.alloc(before, 0xff), road.pattern, Buffer.of(0xff)]).toString(
      'base64',
    );
    await writeFile(path, `{"key":"${text}"}`);
    try {
      expect(await filesHolding(road.path('work'), forms)).toEqual([path]);
    } finally {
      await rm(path);
    }
  });

  describe('while it serves', () => {
    let agent: Program;
    let engine: number;

    beforeAll(async () => {
      agent = road.startAgent();
      await agent.line('listening: ');
      engine = await engineOf(agent);
    }, 60_000);
    afterAll(() => agent.stop());

    it('SW-23, GD-30: neither agent nor engine can dump core', async () => {
      for (const processId of [agent.processId, engine]) {
        expect(await coreLimits(processId)).toEqual(['0', '0']);
      }
    });

    it.skipIf(!isRoot)(
      'SW-23: the model cannot be swapped: locked, or in a mount that never is',
      async () => {
        const plaintext = await plaintextOf(agent.processId);
        expect(plaintext.map(({ target }) => isMemoryFile(target))).toContain(true);
        const lockedKilobytes = Number.parseInt(await statusOf(agent.processId, 'VmLck'), 10);
        const isMounted = plaintext.some(({ target }) => target.startsWith('/memory-'));
        if (!isMounted) expect(lockedKilobytes * 1024).toBeGreaterThanOrEqual(modelBytes);
        expect(await agent.line('unsealed: ')).toContain('cannot be swapped');
      },
    );

    it.skipIf(!isRoot)('SW-23: plaintext is open in memory only, under no name on a disk', async () => {
      for (const processId of [agent.processId, engine]) {
        const plaintext = await plaintextOf(processId);
        expect(plaintext.length).toBeGreaterThan(0);
        for (const file of plaintext) expect(await liesInMemory(file), file.target).toBe(true);
      }
    });

    it.skipIf(!isRoot)('SW-23: plaintext is mapped from memory only', async () => {
      for (const processId of [agent.processId, engine]) {
        const names = await mappedNames(processId);
        expect(names.some(isMemoryFile)).toBe(true);
        const files = names.filter((name) => !isMemoryFile(name));
        expect(files.filter((name) => name.endsWith(' (deleted)'))).toEqual([]);
        for (const name of files) expect(await holds(name, forms), name).toBe(false);
      }
    });

    it.skipIf(!isRoot)('GD-31: the engine has no socket of a network', async () => {
      expect((await networkSockets(agent.processId)).length).toBeGreaterThan(0);
      expect(await networkSockets(engine)).toEqual([]);
    });

    it('GD-30, GD-31: the engine can gain no privileges and runs under a filter', async () => {
      expect(await statusOf(engine, 'NoNewPrivs')).toBe('1');
      expect(await statusOf(engine, 'Seccomp')).toBe('2');
    });

    it('W5, CL-3: neither weights nor their key are in the home, the bundle or a temporary file', async () => {
      const modelKey = await road.releaseModelKey();
      expect(modelKey).toHaveLength(32);
      const keyForms = formsOf(modelKey);
      expect(await filesHolding(road.folder, [...forms, ...keyForms])).toEqual([]);
      for (const processId of [agent.processId, engine]) {
        for (const name of ['cmdline', 'environ']) {
          const text = await readFile(`/proc/${processId}/${name}`);
          expect(keyForms.some((form) => text.includes(form))).toBe(false);
        }
      }
    });
  });

  describe('when it is ended', () => {
    let agent: Program;
    afterEach(() => {
      agent.signalGroup('SIGKILL');
    });

    const moments = [
      ['while it asks for the key', 'enrolled: '],
      ['while it unseals', 'granted: '],
      ['while its engine starts', 'unsealed: '],
      ['while it serves', 'listening: '],
    ] as const;

    it.each(moments)('CL-2, SW-22: Ctrl-C %s leaves nothing', async (_moment, announcement) => {
      agent = road.startAgent();
      await agent.line(announcement);
      agent.signalGroup('SIGINT');
      expect((await agent.ended).exitCode).toBe(130);
      expect(await processesOfGroup(agent.processId)).toEqual([]);
      expect(await residue()).toEqual([]);
    });

    it.each(moments)('CL-2, SW-22: SIGTERM %s leaves nothing', async (_moment, announcement) => {
      agent = road.startAgent();
      await agent.line(announcement);
      agent.signal('SIGTERM');
      expect((await agent.ended).exitCode).toBe(143);
      expect(await processesOfGroup(agent.processId)).toEqual([]);
      expect(await residue()).toEqual([]);
    });

    const ends = [
      [
        'Ctrl-C',
        (running: Program) => {
          running.signalGroup('SIGINT');
        },
      ],
      [
        'SIGTERM',
        (running: Program) => {
          running.signal('SIGTERM');
        },
      ],
      ['a crash of its engine', async (running: Program) => process.kill(await engineOf(running), 'SIGKILL')],
    ] as const;

    it.skipIf(!isRoot).each(ends)(
      'W7: by %s, its plaintext is overwritten before it is given back',
      async (_, end) => {
        agent = road.startAgent();
        await agent.line('listening: ');
        // Whoever holds a descriptor keeps the memory from being given back, and sees what was left in it.
        const kept = await Promise.all((await plaintextOf(agent.processId)).map(({ path }) => open(path)));
        expect(kept.length).toBeGreaterThan(0);
        await end(agent);
        await agent.ended;
        for (const descriptor of kept) {
          const left = await descriptor.readFile();
          await descriptor.close();
          expect(left.length).toBe(modelBytes);
          expect(left.every((byte) => byte === 0)).toBe(true);
        }
      },
    );

    it('GD-30: the engine ends with an agent that is killed', async () => {
      agent = road.startAgent();
      await agent.line('listening: ');
      const group = await processesOfGroup(agent.processId);
      expect(group).toContain(await engineOf(agent));
      agent.signal('SIGKILL');
      const until = performance.now() + GONE_MILLISECONDS;
      while ((await processesOfGroup(agent.processId)).length > 0 && performance.now() < until)
        await pause(20);
      expect(await processesOfGroup(agent.processId)).toEqual([]);
      expect((await agent.ended).exitCode).toBe(137);
      expect(await residue()).toEqual([]);
    });
  });
});
