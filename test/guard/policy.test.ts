import { readFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { Ajv2020, type AnySchema } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { RefusalError } from '../../attestation/core/refusal.ts';
import { readInferencePolicy, TIER_ZERO_CATEGORIES } from '../../src/guard/policy.ts';
import { baselineYaml, readBaseline, readPolicyText } from '../support/inference-policy.ts';

const schema = JSON.parse(
  readFileSync(new URL('../../policies/inference/baseline.schema.json', import.meta.url), 'utf8'),
) as AnySchema;

async function refusalOf(yaml: string): Promise<{ code: string; field: string }> {
  try {
    await readPolicyText(yaml);
  } catch (error) {
    if (error instanceof RefusalError) return error.refusal;
    throw error;
  }
  throw new Error('the policy was accepted');
}

describe('the shipped policy', () => {
  it('GD-1: reads, fits its published schema and holds all of tier 0', async () => {
    const { document } = await readBaseline();
    const validate = new Ajv2020({ strict: true, strictTypes: false }).compile(schema);
    expect(validate(parse(baselineYaml)), JSON.stringify(validate.errors)).toBe(true);
    const tierZero = document.taxonomy.filter((category) => category.tier === 0).map(({ id }) => id);
    expect(tierZero).toEqual([...TIER_ZERO_CATEGORIES]);
    const ruled = new Set(document.rules.map((rule) => rule.category));
    expect(TIER_ZERO_CATEGORIES.filter((name) => !ruled.has(name))).toEqual([]);
  });

  it('GD-2: has the digest of its canonical JSON, whatever its comments and layout', async () => {
    const policy = await readBaseline();
    const independent = createHash('sha256').update(policy.canonical).digest('hex');
    expect(Buffer.from(policy.digest).toString('hex')).toBe(independent);
    const respelled = await readPolicyText(`# another comment\n${baselineYaml}`);
    expect(respelled.digest).toEqual(policy.digest);
    const changed = await readPolicyText(baselineYaml.replace('epoch: 1', 'epoch: 2'));
    expect(changed.digest).not.toEqual(policy.digest);
  });
});

describe('a policy is refused', () => {
  it.each([
    ['an unknown member', 'version: 1', 'version: 1\nrelaxed: true', 'shape-mismatch'],
    ['another version', 'version: 1', 'version: 2', 'shape-mismatch'],
    ['a guard that fails open', 'guardFailure: block', 'guardFailure: allow', 'shape-mismatch'],
    ['a member given twice', 'version: 1', 'version: 1\nversion: 1', 'guard-policy-yaml'],
    ['an anchor', 'epoch: 1', 'epoch: &one 1', 'guard-policy-yaml'],
    ['an alias', 'epoch: 1', 'epoch: *one', 'guard-policy-yaml'],
    ['a tag', 'epoch: 1', 'epoch: !!int 1', 'guard-policy-yaml'],
    ['a directive', '# The baseline', '%YAML 1.1\n---\n# The baseline', 'guard-policy-yaml'],
    ['a second document', 'version: 1', '---\nversion: 1\n---\nversion: 1', 'guard-policy-yaml'],
  ])('GD-1: with %s', async (_, from, to, code) => {
    expect((await refusalOf(baselineYaml.replace(from, to))).code).toBe(code);
  });

  it.each([
    ['GD-3: that lowers a category of tier 0', 'id: cbrn, tier: 0', 'id: cbrn, tier: 2', 'policy.taxonomy'],
    ['GD-3: that leaves one out', 'id: cbrn, tier: 0', 'id: chemistry, tier: 0', 'policy.taxonomy'],
    ['GD-4: whose rule is of no category', 'category: cbrn', 'category: x', 'policy.rules[0].category'],
    [
      'GD-5: whose hold-back is shorter than what its rules span',
      'holdBackCharacters: 192',
      'holdBackCharacters: 64',
      'policy.rules[0].withinCharacters',
    ],
    ['GD-4: whose term is empty when folded', 'teach me to make', "'**'", 'policy.rules[0].groups'],
  ])('%s', async (_, from, to, field) => {
    expect(await refusalOf(baselineYaml.replace(from, to))).toMatchObject({
      code: 'guard-policy-contradiction',
      field,
    });
  });

  it('GD-1: and nothing else is thrown, whatever the bytes', async () => {
    const bytes = new TextEncoder().encode(baselineYaml);
    await fc.assert(
      fc.asyncProperty(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(64), async (at, byte, cut) => {
        const mutated = Uint8Array.from(bytes);
        mutated[at] = byte;
        const kept = cut === 0 ? mutated.subarray(0, at) : mutated;
        await readInferencePolicy(kept).catch((error: unknown) => {
          expect(error).toBeInstanceOf(RefusalError);
        });
      }),
      { numRuns: 150 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (random) => {
        await expect(readInferencePolicy(random)).rejects.toBeInstanceOf(RefusalError);
      }),
    );
  });
});
