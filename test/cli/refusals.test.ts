/** CL-1 and CL-2 for every command: one line that says what and where, one with what to do, the code, nothing left. */

import { copyFile, cp, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runCommand } from '../support/command-line.ts';
import { ORIGIN, Owner, POLICY, RELEASE_POLICY, RELEASE_SETTINGS } from '../support/owner.ts';

let owner: Owner;

/** What goes wrong, the exit code, what the first line says (where, and the refusal's code), the arguments. */
type Row = readonly [
  what: string,
  exitCode: number,
  says: readonly string[],
  makeArguments: () => readonly string[],
];

beforeAll(async () => {
  owner = await Owner.create();
  await Promise.all([owner.init('other'), owner.seal('model', 'bundle')]);
  await owner.serve();
  await Promise.all([writeDocuments(), writeProfiles(), writeBundles(), writeHomes(), writeModels()]);
}, 120_000);

afterAll(async () => {
  await owner[Symbol.asyncDispose]();
});

const path = (name: string): string => owner.path(name);

async function writeDocuments(): Promise<void> {
  const key = await readFile(path('alice.key'), 'utf8');
  const secret = { mode: 0o600 };
  await Promise.all([
    mkdir(path('empty')),
    mkdir(path('out')),
    writeFile(path('text'), 'neither JSON nor: [YAML\n'),
    writeFile(path('empty-line'), '\n'),
    writeFile(path('wrong-passphrase'), 'another\n'),
    writeFile(path('cut.key'), key.slice(0, 200), secret),
    writeFile(path('edited.key'), key.replace('alice', 'alicf'), secret),
    writeFile(path('exposed.key'), key, { mode: 0o644 }),
    writeFile(path('twice.yaml'), 'epoch: 2\nepoch: 3\n'),
    writeFile(path('anchored.yaml'), 'epoch: &a 2\nother: *a\n'),
    writeFile(path('extra.yaml'), `${await readFile(RELEASE_SETTINGS, 'utf8')}\nextra: 1\n`),
    writeFile(path('bad.cedar'), 'permit everything\n'),
    writeFile(path('reference.json'), '{}\n'),
    writeFile(path('state.json'), '{}\n'),
  ]);
}

async function writeProfiles(): Promise<void> {
  const profile = await readFile(path('home/profile.json'), 'utf8');
  const other = JSON.parse(await readFile(path('other/profile.json'), 'utf8')) as Record<string, string>;
  const labKey = JSON.parse(await readFile(path('lab-a.key'), 'utf8')) as { readonly publicKey: string };
  const changed = (name: string, value: unknown): string =>
    `${JSON.stringify({ ...(JSON.parse(profile) as object), [name]: value })}\n`;
  await Promise.all([
    writeFile(path('cut.profile'), profile.slice(0, 300)),
    writeFile(path('mode.profile'), changed('mode', 'whatever')),
    writeFile(path('address.profile'), changed('address', 'http://127.0.0.1:1')),
    writeFile(path('dead.profile'), changed('address', 'https://127.0.0.1:1')),
    writeFile(path('authority.profile'), changed('authorityCertificate', other['authorityCertificate'])),
    writeFile(path('key.profile'), changed('logKey', other['logKey'])),
    writeFile(path('signers.profile'), changed('bundleSigners', [labKey.publicKey])),
  ]);
}

async function writeBundles(): Promise<void> {
  const manifest = 'weightgate.manifest.json';
  await Promise.all(
    ['cut', 'bare', 'junk', 'edited', 'flipped'].map((name) =>
      cp(path('bundle'), path(`${name}-bundle`), { recursive: true }),
    ),
  );
  const text = await readFile(path(`bundle/${manifest}`), 'utf8');
  const weights = await readFile(path('bundle/model.gguf'));
  weights[weights.length >> 1] = (weights[weights.length >> 1] ?? 0) ^ 1;
  await Promise.all([
    truncate(path('cut-bundle/model.gguf'), 1000),
    rm(path(`bare-bundle/${manifest}`)),
    writeFile(path(`junk-bundle/${manifest}`), 'junk'),
    writeFile(path(`edited-bundle/${manifest}`), text.replace(/"payload":"..../, '"payload":"AAAA')),
    writeFile(path('flipped-bundle/model.gguf'), weights),
  ]);
}

async function writeHomes(): Promise<void> {
  const names = ['plain', 'unknown', 'cut', 'tls', 'log', 'lost', 'storage', 'anchor'];
  await Promise.all(
    names.map((name) =>
      cp(path('other'), path(`${name}-home`), { recursive: true, preserveTimestamps: true }),
    ),
  );
  await Promise.all([
    writeFile(path('plain-home/weightgate.yaml'), 'a: &x 1\n'),
    writeFile(path('unknown-home/weightgate.yaml'), 'version: 1\nunknown: 2\n'),
    writeFile(path('cut-home/keyring.json'), '{"version":1', { mode: 0o600 }),
    writeFile(path('tls-home/tls/server.pem'), 'junk'),
    writeFile(path('log-home/log/log.sqlite'), randomBytes(3000)),
    rm(path('lost-home/log/log.sqlite')),
    writeFile(path('storage-home/weightgate.sqlite'), randomBytes(3000)),
    writeFile(path('anchor-home/anchors/simulated/tpm/junk.pem'), 'junk'),
  ]);
}

async function writeModels(): Promise<void> {
  await Promise.all([mkdir(path('bad-model')), mkdir(path('plain-model'))]);
  await writeFile(path('bad-model/model.gguf'), 'junk');
  await copyFile(path('text'), path('plain-model/notes'));
}

const init = (...changes: readonly string[]): readonly string[] => [
  ...['init', path('out/home'), '--mode', 'evaluation', '--origin', ORIGIN, ...owner.persons],
  ...['--organisation', 'Owner', ...owner.passphrase, ...changes],
];
const key = (file: string, ...more: readonly string[]): readonly string[] => [
  ...['key', 'create', file, '--name', 'carol', ...owner.passphrase, ...more],
];
const seal = (folder: string, ...changes: readonly string[]): readonly string[] => [
  ...owner.sealing(folder),
  ...['--out', path('out/bundle'), ...changes],
];
const status = (bundle: string, profile = 'home/profile.json'): readonly string[] => [
  ...['release', 'status', path(bundle), '--profile', path(profile)],
];
const audit = (profile: string, ...more: readonly string[]): readonly string[] => [
  ...['audit', '--profile', path(profile), ...more],
];
const hold = (...more: readonly string[]): readonly string[] => [
  ...['hold', '--reason', 'a test', ...owner.profile, ...owner.passphrase, ...more],
];
const run = (bundle: string, ...changes: readonly string[]): readonly string[] => [
  ...['agent', 'run', path(bundle), ...owner.profile, '--lab', 'lab-a', '--key', path('lab-a.key')],
  ...['--policy', POLICY, '--witness-policy', 'none', '--purpose', 'a test'],
  ...['--listen', '127.0.0.1:0', ...owner.passphrase, ...changes],
];
const alice = (): readonly string[] => ['--key', path('alice.key')];
const wrongPassphrase = (): readonly string[] => ['--passphrase-file', path('wrong-passphrase')];

const ROWS: readonly Row[] = [
  ['a command that is not there', 2, ["unknown command 'frobnicate'"], () => ['frobnicate']],
  ['an option that is not there', 2, ["unknown option '--frob'"], () => key(path('out/k'), '--frob')],
  ['an option that is missing', 2, ["'--name <name>' not specified"], () => ['key', 'create', path('out/k')]],
  ['a name that cannot be one', 2, ["'--name <name>'"], () => key(path('out/k'), '--name', 'a b')],
  [
    'no passphrase and no terminal',
    2,
    ['[passphrase-missing]'],
    () => ['key', 'create', path('out/k'), '--name', 'a'],
  ],
  [
    'an empty passphrase',
    2,
    ['empty-line', '[argument-invalid]'],
    () => key(path('out/k'), '--passphrase-file', path('empty-line')),
  ],
  [
    'a passphrase file that is missing',
    5,
    ['/none', '[file-not-found]'],
    () => key(path('out/k'), '--passphrase-file', path('none')),
  ],
  ['a key that exists', 5, ['alice.key', '[file-exists]'], () => key(path('alice.key'))],
  ['a key in no folder', 5, ['none/k', '[file-not-written]'], () => key(path('none/k'))],
  ['a key below a file', 5, ['text/k', '[file-not-written]'], () => key(path('text/k'))],
  ['a key that is missing', 5, ['/none', '[file-not-found]'], () => ['key', 'show', path('none')]],
  ['a key that is a folder', 5, ['/model', '[file-not-readable]'], () => ['key', 'show', path('model')]],
  ['a key that is none', 3, ['/text', '[json-malformed]'], () => ['key', 'show', path('text')]],
  ['a key that was cut', 3, ['cut.key', '[json-malformed]'], () => ['key', 'show', path('cut.key')]],
  [
    'a key that was edited',
    1,
    ['edited.key', '[key-file-damaged]'],
    () => seal('model', '--key', path('edited.key')),
  ],
  [
    'a key that others can read',
    5,
    ['exposed.key', '[key-file-exposed]'],
    () => seal('model', '--key', path('exposed.key')),
  ],
  ['init: a mode that is none', 2, ["'--mode <mode>'"], () => init('--mode', 'x')],
  [
    'init: an origin of the other mode',
    2,
    ['--origin', '[argument-invalid]'],
    () => init('--mode', 'production'),
  ],
  ['init: an origin with a space', 2, ["'--origin <name>'"], () => init('--origin', 'a b/evaluation')],
  ['init: a person without a key', 2, ["'--person <name=key>'"], () => init('--person', 'carol')],
  [
    'init: a key that is missing',
    5,
    ['/none', '[file-not-found]'],
    () => init('--person', `carol=${path('none')}`),
  ],
  [
    'init: a person twice',
    1,
    ['[governance-trust-root]'],
    () => init('--person', `alice=${path('lab-a.key')}`),
  ],
  ['init: a quorum that nobody reaches', 1, ['[governance-trust-root]'], () => init('--quorum', '9')],
  ['init: an address that is none', 2, ["'--listen <host:port>'"], () => init('--listen', 'nowhere')],
  ['init: a host that is none', 2, ["'--name <host>'"], () => init('--name', 'a b/c')],
  [
    'init: a home that exists',
    5,
    ['/home', '[home-exists]'],
    () => ['init', path('home'), ...init().slice(2)],
  ],
  [
    'init: a home below a file',
    5,
    ['text/h', '[home-not-made]'],
    () => ['init', path('text/h'), ...init().slice(2)],
  ],
  ['seal: a model that is missing', 5, ['/none', '[sealed-not-readable]'], () => seal('none')],
  ['seal: a model that is a file', 5, ['/text', '[sealed-not-readable]'], () => seal('text')],
  ['seal: an empty folder', 2, ['/empty', '[sealed-source-empty]'], () => seal('empty')],
  [
    'seal: a GGUF file that is none',
    3,
    ['model.gguf', '[weights-header-malformed]'],
    () => seal('bad-model'),
  ],
  [
    'seal: an output that exists',
    5,
    ['/bundle', '[file-exists]'],
    () => seal('model', '--out', path('bundle')),
  ],
  [
    'seal: an output in no folder',
    5,
    ['none/b', '[sealed-not-written]'],
    () => seal('model', '--out', path('none/b')),
  ],
  [
    'seal: an output in the model',
    2,
    ['[sealed-output-inside-source]'],
    () => seal('model', '--out', path('model/b')),
  ],
  [
    'seal: a home that is missing',
    5,
    ['/none', '[home-not-found]'],
    () => seal('model', '--home', path('none')),
  ],
  [
    'seal: a wrong passphrase',
    1,
    ['alice.key', '[key-passphrase-wrong]'],
    () => seal('model', ...wrongPassphrase()),
  ],
  [
    'seal: the key of a lab',
    2,
    ['--key', '[argument-invalid]'],
    () => seal('model', '--key', path('lab-a.key')),
  ],
  ['seal: a name that no statement takes', 2, ["'--name <name>'"], () => seal('model', '--name', 'a b')],
  [
    'serve: a home that is missing',
    5,
    ['[home-not-found]'],
    () => ['serve', path('none'), ...owner.passphrase],
  ],
  [
    'serve: a wrong passphrase',
    1,
    ['keyring.json', '[key-passphrase-wrong]'],
    () => ['serve', path('other'), ...wrongPassphrase()],
  ],
  [
    'serve: a home that is served',
    5,
    ['log.sqlite', '[log-locked]'],
    () => ['serve', path('home'), ...owner.passphrase],
  ],
  [
    'serve: YAML that is not plain',
    3,
    ['weightgate.yaml', '[configuration-yaml]'],
    () => ['serve', path('plain-home'), ...owner.passphrase],
  ],
  [
    'serve: a setting that is not known',
    3,
    ['weightgate.yaml', '[shape-mismatch]'],
    () => ['serve', path('unknown-home'), ...owner.passphrase],
  ],
  [
    'serve: a keyring that was cut',
    3,
    ['keyring.json', '[json-malformed]'],
    () => ['serve', path('cut-home'), ...owner.passphrase],
  ],
  [
    'serve: a certificate that is none',
    5,
    ['server.pem', '[home-tls]'],
    () => ['serve', path('tls-home'), ...owner.passphrase],
  ],
  [
    'serve: a log that is none',
    5,
    ['log.sqlite', '[log-storage-failed]'],
    () => ['serve', path('log-home'), ...owner.passphrase],
  ],
  [
    'serve: a log that is lost',
    5,
    ['log.sqlite', '[log-missing]'],
    () => ['serve', path('lost-home'), ...owner.passphrase],
  ],
  [
    'serve: a database that is none',
    5,
    ['weightgate.sqlite', '[storage-not-opened]'],
    () => ['serve', path('storage-home'), ...owner.passphrase],
  ],
  [
    'serve: an anchor that is none',
    5,
    ['junk.pem', '[home-anchor]'],
    () => ['serve', path('anchor-home'), ...owner.passphrase],
  ],
  ['a profile that is missing', 5, ['/none', '[file-not-found]'], () => audit('none')],
  ['a profile that was cut', 3, ['cut.profile', '[json-malformed]'], () => audit('cut.profile')],
  ['a profile that was edited', 3, ['mode.profile', '[shape-mismatch]'], () => audit('mode.profile')],
  ['an address that is not https', 2, ['[server-address]'], () => audit('address.profile')],
  ['a dead server', 4, ['127.0.0.1:1', '[server-unreachable]'], () => audit('dead.profile')],
  [
    'a statement to a dead server',
    4,
    ['[server-unreachable]'],
    () => hold('--all', ...alice(), '--profile', path('dead.profile')),
  ],
  ['another TLS authority', 1, ['[server-not-trusted]'], () => audit('authority.profile')],
  ['a log under another key', 1, ['[log-note-unsigned]'], () => audit('key.profile')],
  [
    'audit: a folder that is missing',
    5,
    ['/none', '[file-not-found]'],
    () => audit('home/profile.json', '--folder', path('none')),
  ],
  [
    'audit: a folder without a log',
    4,
    ['[log-incomplete]'],
    () => audit('home/profile.json', '--folder', path('empty')),
  ],
  [
    'audit: the folder of another log',
    1,
    ['[log-note-unsigned]'],
    () => audit('home/profile.json', '--folder', path('other')),
  ],
  [
    'audit: a memory that is none',
    3,
    ['state.json', '[shape-mismatch]'],
    () => audit('home/profile.json', '--state', path('state.json')),
  ],
  ['a bundle that is missing', 5, ['weightgate.manifest.json', '[file-not-found]'], () => status('none')],
  [
    'a bundle without a manifest',
    5,
    ['weightgate.manifest.json', '[file-not-found]'],
    () => status('bare-bundle'),
  ],
  ['a manifest that is none', 3, ['[json-malformed]'], () => status('junk-bundle')],
  ['a manifest that was edited', 1, ['[dsse-threshold]'], () => status('edited-bundle')],
  ['a manifest of other signers', 1, ['[dsse-threshold]'], () => status('bundle', 'signers.profile')],
  ['a bundle that was cut', 3, ['model.gguf', '[sealed-file-size]'], () => status('cut-bundle')],
  [
    'a bundle with another byte',
    1,
    ['model.gguf', '[sealed-file-digest]'],
    () => ['verify', path('flipped-bundle'), ...owner.profile],
  ],
  ['a bundle that is not registered', 2, ['[model-unknown]'], () => status('bundle')],
  [
    'a phase that is none',
    2,
    ["'--to <phase>'"],
    () => ['release', 'promote', path('bundle'), '--to', 'x', '--reason', 'y', ...owner.signed],
  ],
  [
    'an inference policy that is none',
    3,
    ['[guard-policy-yaml]'],
    () => ['model', 'register', path('bundle'), '--policy', path('text'), ...owner.signed],
  ],
  [
    'an inference policy that is missing',
    5,
    ['/none', '[file-not-found]'],
    () => ['model', 'register', path('bundle'), '--policy', path('none'), ...owner.signed],
  ],
  [
    'a policy with a member twice',
    3,
    ['twice.yaml', 'line 2', '[configuration-yaml]'],
    () => ['policy', 'publish', path('twice.yaml'), RELEASE_POLICY, ...owner.signed],
  ],
  [
    'a policy with an anchor',
    3,
    ['[configuration-yaml]'],
    () => ['policy', 'publish', path('anchored.yaml'), RELEASE_POLICY, ...owner.signed],
  ],
  [
    'a policy with an unknown member',
    3,
    ['extra.yaml', '[shape-mismatch]'],
    () => ['policy', 'publish', path('extra.yaml'), RELEASE_POLICY, ...owner.signed],
  ],
  [
    'a policy whose Cedar is none',
    3,
    ['[policy-not-parsed]'],
    () => ['policy', 'publish', RELEASE_SETTINGS, path('bad.cedar'), ...owner.signed],
  ],
  [
    'reference values that are none',
    3,
    ['/text', '[configuration-yaml]'],
    () => ['reference', 'publish', path('text'), '--name', 'a', '--epoch', '1', ...owner.signed],
  ],
  [
    'reference values of another shape',
    3,
    ['[shape-member]'],
    () => ['reference', 'publish', path('reference.json'), '--name', 'a', '--epoch', '1', ...owner.signed],
  ],
  [
    'PCRs that are none',
    2,
    ['--pcrs', '[argument-invalid]'],
    () => [
      'reference',
      'record',
      '--tpm',
      'device:/dev/none',
      '--pcrs',
      '0,99',
      '--name',
      'a',
      '--source',
      'b',
      '--out',
      path('out/r'),
    ],
  ],
  [
    'a TPM that is missing',
    5,
    ['/dev/none', '[tpm-missing]'],
    () => [
      'reference',
      'record',
      '--tpm',
      'device:/dev/none',
      '--pcrs',
      '0',
      '--name',
      'a',
      '--source',
      'b',
      '--out',
      path('out/r'),
    ],
  ],
  [
    'a simulator that does not answer',
    4,
    ['[tpm-unreachable]'],
    () => ['agent', 'identity', '--tpm', 'swtpm:host=127.0.0.1,port=1'],
  ],
  [
    'a TPM address that is none',
    2,
    ['[tpm-address-malformed]'],
    () => ['agent', 'identity', '--tpm', 'frob:x'],
  ],
  ['a hold on nothing', 2, ['[argument-invalid]'], () => hold(...alice())],
  ['a hold on two things', 2, ['[argument-invalid]'], () => hold('--all', '--lab', 'x', ...alice())],
  ['a hold on a model that is none', 2, ["'--model <digest>'"], () => hold('--model', 'x', ...alice())],
  ['a hold by somebody else', 1, ['[dsse-threshold]'], () => hold('--all', '--key', path('lab-a.key'))],
  ['a resumption of nothing', 2, ["'zz'"], () => ['resume', 'zz', '--reason', 'x', ...owner.signed]],
  [
    'a jurisdiction that is none',
    2,
    ["'--jurisdiction <code>'"],
    () => [
      'lab',
      'accredit',
      'lab-b',
      '--organisation',
      'B',
      '--jurisdiction',
      'Utopia',
      '--lab-key',
      path('lab-a.key'),
      ...owner.signed,
    ],
  ],
  [
    'a machine without a digest',
    2,
    ["'--machine <name=identity>'"],
    () => [
      'lab',
      'accredit',
      'lab-b',
      '--organisation',
      'B',
      '--jurisdiction',
      'CH',
      '--machine',
      'm=x',
      '--lab-key',
      path('lab-a.key'),
      ...owner.signed,
    ],
  ],
  ['run: no TPM', 5, ['/dev/none', '[tpm-missing]'], () => run('bundle', '--tpm', 'device:/dev/none')],
  ['run: a bundle that is missing', 5, ['[file-not-found]'], () => run('none')],
  ['run: a bundle that was cut', 3, ['model.gguf', '[sealed-file-size]'], () => run('cut-bundle')],
  [
    'run: a file that the bundle lacks',
    2,
    ['none.gguf', '[sealed-file-unknown]'],
    () => run('bundle', '--model-file', 'none.gguf'),
  ],
  [
    'run: an empty API key',
    2,
    ['empty-line', '[argument-invalid]'],
    () => run('bundle', '--api-key-file', path('empty-line')),
  ],
  ['run: an address that is none', 2, ["'--listen <host:port>'"], () => run('bundle', '--listen', 'x')],
  [
    'run: a wrong passphrase',
    1,
    ['lab-a.key', '[key-passphrase-wrong]'],
    () => run('bundle', ...wrongPassphrase()),
  ],
];

describe('a command that is refused', () => {
  it.concurrent.each(ROWS)('CL-1: %s', async (_what, exitCode, says, makeArguments) => {
    const { errors, exitCode: found } = await runCommand(...makeArguments());
    const lines = errors.split('\n').filter((line) => line !== '' && !line.startsWith('{'));
    expect(lines).toHaveLength(2);
    const [refusal = '', advice = ''] = lines;
    expect(refusal).toMatch(/^weightgate: /);
    for (const text of says) expect(refusal).toContain(text);
    expect(advice).toMatch(/^ {12}\S/);
    expect(found).toBe(exitCode);
  });

  it('CL-2: and has left nothing', async () => {
    expect(await readdir(path('out'))).toEqual([]);
    const names = await Promise.all(['.', 'model', 'home'].map((name) => readdir(path(name))));
    expect(names.flat().filter((name) => name.includes('.partial'))).toEqual([]);
    expect(await readdir(path('model'))).toEqual(['README.md', 'model.gguf']);
  });
});
