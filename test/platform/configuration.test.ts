import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

import { formatConfiguration, readConfiguration } from '../../src/platform/configuration.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const schema = z.strictObject({
  name: z.string(),
  count: z.int(),
  nested: z.strictObject({ on: z.boolean() }),
});

async function read(text: string | Uint8Array): Promise<z.infer<typeof schema>> {
  const path = join(await temporaryFolder(), 'x.yaml');
  await writeFile(path, text);
  return await readConfiguration(path, schema);
}

describe('configuration files', () => {
  it('what is written reads back, comment and all', async () => {
    const document = { name: 'no: "quotes" #', count: 7, nested: { on: true } };
    const bytes = formatConfiguration('one line\nand another', document);
    expect(Buffer.from(bytes).toString()).toMatch(/^# one line\n# and another\n/);
    expect(await read(bytes)).toEqual(document);
  });

  it.each([
    ['a repeated member', 'name: a\nname: b\ncount: 1\nnested: {on: true}', 'configuration-yaml'],
    ['an alias', 'name: &a x\ncount: 1\nnested: *a', 'configuration-yaml'],
    ['an anchor', 'name: &a x\ncount: 1\nnested: {on: true}', 'configuration-yaml'],
    ['a tag', 'name: !!str x\ncount: 1\nnested: {on: true}', 'configuration-yaml'],
    ['two documents', 'name: x\n---\nname: y', 'configuration-yaml'],
    ['an unknown member', 'name: x\ncount: 1\nnested: {on: true}\nmore: 1', 'shape-mismatch'],
    ['the yes of YAML 1.1', 'name: x\ncount: 1\nnested: {on: yes}', 'shape-mismatch'],
    ['nothing', '', 'shape-mismatch'],
    ['bytes that are no text', Uint8Array.of(0xff, 0xfe), 'utf8-malformed'],
  ])('W11: %s is refused', async (_title, text, code) => {
    expect(await refusalCodeAsync(() => read(text))).toBe(code);
  });

  it('W11: any text is read or refused', async () => {
    const path = join(await temporaryFolder(), 'x.yaml');
    const text = fc.oneof(
      fc.string(),
      fc.string({ unit: fc.constantFrom(...Array.from('ab:- {}[]&*!|>"\'\n\t#%?,')) }),
    );
    await fc.assert(
      fc.asyncProperty(text, async (content) => {
        await writeFile(path, content);
        expect(await refusalCodeAsync(() => readConfiguration(path, schema))).not.toBe('');
      }),
      { numRuns: 300 },
    );
  });
});
