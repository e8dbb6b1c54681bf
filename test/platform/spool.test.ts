import { describe, expect, it } from 'vitest';

import { Spool } from '../../src/platform/spool.ts';

async function roundTrip(lines: readonly string[], memoryCharacters?: number): Promise<readonly string[]> {
  await using spool = new Spool(memoryCharacters);
  for (const line of lines) await spool.append(line);
  const back: string[] = [];
  for await (const line of spool.lines()) back.push(line);
  return back;
}

describe('a spool', () => {
  const lines = Array.from({ length: 5000 }, (_, i) => `${i} ${'é'.repeat(i % 400)}`);

  it.each([undefined, 0, 1000, 900_000])(
    'AU-4: gives back all lines in order, %s of them in memory',
    async (held) => {
      expect(await roundTrip(lines, held)).toEqual(lines);
      expect(await roundTrip([], held)).toEqual([]);
      expect(await roundTrip(['one'], held)).toEqual(['one']);
    },
  );
});
