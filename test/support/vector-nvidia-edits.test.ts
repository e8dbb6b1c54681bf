/** The operations of the manifest of NVIDIA's vectors, over files that are made up. */

import { describe, expect, it } from 'vitest';

import { fromUtf8, toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { caseOf } from './vector-nvidia-case.ts';
import type { NvidiaCase } from './vector-nvidia-case.ts';
import { applyOperations } from './vector-nvidia-edits.ts';
import { derOfBlock, pemBlocks } from './vector-nvidia-edits-pem.ts';
import { readNvidiaManifest } from './vector-nvidia-manifest.ts';
import type { Operation } from './vector-nvidia-operations.ts';

const block = (content: string): string =>
  `-----BEGIN CERTIFICATE-----\n${toBase64(toUtf8(content))}\n-----END CERTIFICATE-----\n`;
const token = ['{"alg":"ES384"}', '{"ok":true}', 'sig']
  .map((part) => toBase64(toUtf8(part)).replace(/=+$/, ''))
  .join('.');

const contents: Readonly<Record<string, string>> = {
  report: 'report of the first one, longer than forty bytes',
  chain: ['leaf', 'middle', 'root'].map(block).join(''),
  'other-report': 'another report',
  'other-chain': block('foreign'),
  'root.pem': block('other root'),
  set: '[{"arch":"A","nonce":"1"},{"arch":"B","nonce":"2"}]',
  response: `[["JWT","${token}"],{"GPU-0":"first","a/b":1}]`,
  jwks: '{"keys":[{"kid":"a"},{"kid":"b"}]}',
};

const file = (path: string): object => ({ path, bytes: 0, sha256: path });
const expected = { expect: { verdict: 'reject', failing: [] } };
const context = { expected_nonce: '00', verify_at: '2026-01-01T00:00:00Z' };
const vectors: readonly object[] = [
  {
    id: 'one',
    kind: 'gpu-evidence',
    files: { report: file('report'), chain: file('chain') },
    context,
    ...expected,
  },
  {
    id: 'two',
    kind: 'gpu-evidence',
    files: { report: file('other-report'), chain: file('other-chain') },
    context,
    ...expected,
  },
  {
    id: 'set',
    kind: 'device-set',
    files: { evidence: file('set') },
    context: { ...context, expected_counts: { gpus: 1, switches: 1 } },
    ...expected,
  },
  {
    id: 'token',
    kind: 'nras-eat',
    files: { response: file('response'), jwks: file('jwks') },
    ...expected,
  },
];

function manifestOf(members: object = {}): object {
  return {
    schema: 1,
    set: 'made up',
    title: '',
    generated: '',
    counts: { vectors: vectors.length, mutations: 0 },
    conventions: {
      paths: '',
      independence: '',
      verify_at: '',
      verdicts: {},
      checks: {},
      mutation_ops: { xor: 'xor hex' },
    },
    roots: [],
    vectors,
    mutations: [],
    ...members,
  };
}

const set = {
  manifest: readNvidiaManifest(manifestOf()),
  folder: { manifest: {}, file: (path: string) => toUtf8(contents[path] ?? '') },
};

function edited(index: number, ...operations: readonly Operation[]): NvidiaCase {
  return applyOperations(caseOf(set, set.manifest.vectors[index]!), operations);
}

const textOf = (subject: NvidiaCase, name: string): string => fromUtf8(subject.files.get(name)!, name);
const names = (subject: NvidiaCase): readonly string[] =>
  pemBlocks(subject.files.get('chain')!).map((one) => fromUtf8(derOfBlock(one), 'der'));

describe('operations on bytes', () => {
  const report = contents['report']!;

  it.each<[Operation, string]>([
    [{ op: 'xor', file: 'report', offset: 0, hex: '20' }, `R${report.slice(1)}`],
    [{ op: 'write', file: 'report', offset: 1, hex: '4142' }, `rAB${report.slice(3)}`],
    [{ op: 'truncate', file: 'report', length: 6 }, 'report'],
    [{ op: 'append', file: 'report', hex: '2121' }, `${report}!!`],
    [{ op: 'text_replace', file: 'report', find: 'o', replace: '$&' }, report.replace('o', () => '$&')],
    [{ op: 'replace_file', file: 'report', from: { vector: 'two', file: 'report' } }, 'another report'],
  ])('%j', (operation, after) => {
    expect(textOf(edited(0, operation), 'report')).toBe(after);
  });

  it('are made in their order, on the file that they name', () => {
    const subject = edited(
      0,
      { op: 'truncate', file: 'report', length: 2 },
      { op: 'append', file: 'report', hex: '41' },
    );
    expect(textOf(subject, 'report')).toBe('reA');
    expect(textOf(subject, 'chain')).toBe(contents['chain']);
  });

  it.each<[string, Operation]>([
    ['changes nothing', { op: 'xor', file: 'report', offset: 0, hex: '00' }],
    ['outside', { op: 'write', file: 'report', offset: 47, hex: '4142' }],
    ['is not there', { op: 'text_replace', file: 'report', find: 'absent', replace: '' }],
    ['no file', { op: 'truncate', file: 'quote', length: 1 }],
    ['no vector', { op: 'replace_file', file: 'report', from: { vector: 'three', file: 'report' } }],
    ['changes nothing', { op: 'context', name: 'expected_nonce', value: '00' }],
  ])('%s', (message, operation) => {
    expect(() => edited(0, operation)).toThrow(message);
  });
});

describe('operations on certificates', () => {
  it.each<[Operation, readonly string[]]>([
    [{ op: 'pem_delete', file: 'chain', index: 0 }, ['middle', 'root']],
    [{ op: 'pem_swap', file: 'chain', i: 0, j: 2 }, ['root', 'middle', 'leaf']],
    [{ op: 'pem_reverse', file: 'chain' }, ['root', 'middle', 'leaf']],
    [{ op: 'pem_duplicate', file: 'chain', index: 1 }, ['leaf', 'middle', 'middle', 'root']],
    [
      { op: 'pem_replace', file: 'chain', index: 2, from: { path: 'root.pem' } },
      ['leaf', 'middle', 'other root'],
    ],
    [
      { op: 'pem_replace', file: 'chain', index: 0, from: { vector: 'two', file: 'chain', index: 0 } },
      ['foreign', 'middle', 'root'],
    ],
    [{ op: 'der_xor', file: 'chain', index: 0, offset: 0, hex: '20' }, ['Leaf', 'middle', 'root']],
  ])('%j', (operation, after) => {
    expect(names(edited(0, operation))).toEqual(after);
  });
});

describe('operations on JSON', () => {
  const [first, second] = JSON.parse(contents['set']!) as readonly object[];

  it.each<[Operation, readonly unknown[]]>([
    [{ op: 'set_copy', file: 'evidence', from: 0, to: 1 }, [first, first]],
    [{ op: 'set_delete', file: 'evidence', index: 0 }, [second]],
    [
      { op: 'set_field', file: 'evidence', index: 1, field: 'arch', value: 'C' },
      [first, { ...second, arch: 'C' }],
    ],
    [
      { op: 'set_swap', file: 'evidence', i: 0, j: 1, field: 'nonce' },
      [
        { ...first, nonce: '2' },
        { ...second, nonce: '1' },
      ],
    ],
    [
      { op: 'set_replace', file: 'evidence', index: 0, arch: 'B', from: { vector: 'two' } },
      [
        {
          arch: 'B',
          nonce: '686572207265706f7274',
          evidence: toBase64(toUtf8('another report')),
          certificate: toBase64(toUtf8(contents['other-chain']!)),
        },
        second,
      ],
    ],
  ])('%j', (operation, after) => {
    expect(JSON.parse(textOf(edited(2, operation), 'evidence'))).toEqual(after);
  });

  it.each<[Operation, string, unknown]>([
    [{ op: 'json_set', file: 'response', pointer: '/1/GPU-9', value: 'x' }, '/1', { 'GPU-9': 'x' }],
    [{ op: 'json_delete', file: 'response', pointer: '/1/a~1b' }, '/1', { 'GPU-0': 'first' }],
    [
      {
        op: 'json_copy_from',
        file: 'response',
        pointer: '/1/GPU-0',
        from: { vector: 'token', file: 'jwks', pointer: '/keys/1/kid' },
      },
      '/1',
      { 'GPU-0': 'b' },
    ],
  ])('%j', (operation, _at, after) => {
    const document = JSON.parse(textOf(edited(3, operation), 'response')) as readonly unknown[];
    const had = JSON.parse(contents['response']!) as readonly unknown[];
    expect(document[0]).toEqual(had[0]);
    expect(document[1]).toMatchObject(after as object);
    expect(document[1]).not.toEqual(had[1]);
  });

  it('delete an item of a list without a gap', () => {
    const subject = edited(3, { op: 'json_delete', file: 'jwks', pointer: '/keys/0' });
    expect(textOf(subject, 'jwks')).toBe('{"keys":[{"kid":"b"}]}');
  });

  it('edit the parts of a token, and keep those that are not named', () => {
    const parts = (operation: Partial<Operation & { op: 'jwt_edit' }>): readonly string[] => {
      const subject = edited(3, { op: 'jwt_edit', file: 'response', pointer: '/0/1', ...operation });
      const [[, edit]] = JSON.parse(textOf(subject, 'response')) as [[string, string]];
      return edit.split('.');
    };
    const [header, payload, signature] = token.split('.') as [string, string, string];
    expect(parts({ signature: '' })).toEqual([header, payload, '']);
    const [edited384, ...rest] = parts({ header: { alg: 'none' } });
    expect(rest).toEqual([payload, signature]);
    expect(atob(edited384!)).toBe('{"alg":"none"}');
    expect(atob(parts({ payload: { more: 1 } })[1]!)).toBe('{"ok":true,"more":1}');
  });
});

describe('a manifest', () => {
  const vector = vectors[0]!;
  const mutation = {
    id: 'm',
    base: 'one',
    ops: [{ op: 'truncate', file: 'report', length: 1 }],
    expect: { verdict: 'reject', must_fail: [], all_failing: [] },
    confirmed: true,
  };

  it('reads what it knows', () => {
    const counts = { vectors: vectors.length, mutations: 1 };
    expect(readNvidiaManifest(manifestOf({ counts, mutations: [mutation] })).mutations).toHaveLength(1);
  });

  it.each<[string, object]>([
    ['an unknown member', { more: 1 }],
    ['another schema', { schema: 2 }],
    ['an unknown kind', { vectors: [{ ...vector, kind: 'riddle' }], counts: { vectors: 1, mutations: 0 } }],
    [
      'an unknown file',
      { vectors: [{ ...vector, files: { paper: file('report') } }], counts: { vectors: 1, mutations: 0 } },
    ],
    ['a wrong count', { counts: { vectors: 9, mutations: 0 } }],
    ['one id twice', { vectors: [vector, vector], counts: { vectors: 2, mutations: 0 } }],
    [
      'an operation that nobody knows',
      {
        mutations: [{ ...mutation, ops: [{ op: 'paint', file: 'report' }] }],
        counts: { vectors: vectors.length, mutations: 1 },
      },
    ],
    [
      'a base that is not there',
      { mutations: [{ ...mutation, base: 'ten' }], counts: { vectors: vectors.length, mutations: 1 } },
    ],
    [
      'a mutation that nobody confirmed',
      {
        mutations: [{ ...mutation, confirmed: false }],
        counts: { vectors: vectors.length, mutations: 1 },
      },
    ],
  ])('is refused with %s', (_what, members) => {
    expect(() => readNvidiaManifest(manifestOf(members))).toThrow();
  });

  it('is refused when its conventions speak of another operation', () => {
    const { conventions } = manifestOf() as { readonly conventions: object };
    const other = { ...conventions, mutation_ops: { paint: 'blue' } };
    expect(() => readNvidiaManifest(manifestOf({ conventions: other }))).toThrow();
  });
});
