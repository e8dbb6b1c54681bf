/**
 * The whole road once: every step is a command that a user would type, shown with what it printed. Only the attempts to
 * cheat need more than a command, because no honest command makes them.
 */

import { execFile } from 'node:child_process';
import { cp, open, readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { toHex } from '../../../attestation/core/bytes.ts';
import type { Refusal } from '../../../attestation/core/refusal.ts';
import { openSigningKey } from '../../keys/signing-key.ts';
import { systemClock } from '../../platform/clock.ts';
import { openBundleOf } from '../bundle.ts';
import { readInferencePolicyFile } from '../inference-policy.ts';
import { untilAborted } from '../interruption.ts';
import { withServer } from '../options.ts';
import { sendForgedEvidence, sendTwice, type Asking } from './attacks.ts';
import { ask } from './conversation.ts';
import type { BadState, DemoDevice } from './device.ts';
import { DemoMachine } from './machine.ts';
import { SevSnpGpuDemoMachine } from './sev-snp-gpu-machine.ts';
import { SevSnpDemoMachine } from './sev-snp-machine.ts';
import { demoRefusals, type CommandOutcome, Stage } from './stage.ts';

/** Machines that the demonstration can play with. */
const MACHINES = {
  tpm: (folder: string): Promise<DemoDevice> => DemoMachine.switchOn(folder),
  'sev-snp': (folder: string): Promise<DemoDevice> => SevSnpDemoMachine.switchOn(folder),
  'sev-snp+nvidia-gpu': (folder: string): Promise<DemoDevice> => SevSnpGpuDemoMachine.switchOn(folder),
} as const;

export type DemoDeviceClass = keyof typeof MACHINES;
export const DEMO_DEVICES = Object.keys(MACHINES) as readonly DemoDeviceClass[];

export interface DemoOptions {
  readonly device: DemoDeviceClass;
  /** End after the summary; otherwise the model answers on until an interrupt. */
  readonly once: boolean;
  readonly signal: AbortSignal;
}

const PROJECT = join(import.meta.dirname, '..', '..', '..');
const POLICY = join(PROJECT, 'policies', 'inference', 'baseline.yaml');
const RELEASE_POLICY = join(PROJECT, 'policies', 'release', 'research.cedar');
const TINY_MODEL = join(PROJECT, 'scripts', 'tiny-model', 'main.ts');

const LAB = 'lab-a';
const PURPOSE = 'safety-evaluation';
const MODEL = 'harbour';
/** Everything secret in the demonstration is under this passphrase, and gone with its folder. */
const PASSPHRASE = 'only for the demonstration';

/** Plays it. @throws RefusalError `demo-step-failed` when something did not end as it should have, and of each step */
export async function playDemo({ device, once: endAfterSummary, signal }: DemoOptions): Promise<void> {
  const startedAt = performance.now();
  await using undo = new AsyncDisposableStack();
  const stage = undo.use(await Stage.open(signal));
  const machine = await prepare(stage, device, undo);
  await makeServer(stage);
  await install(stage, machine);
  await sealModel(stage);
  await serve(stage, undo);
  await govern(stage, machine);
  const early = await askInBadStates(stage, machine);
  const address = await runAgent(stage, machine, undo);
  await converse(stage, address);
  const late = await cheat(stage, machine);
  const refused = demandDifferent([...early, ...late]);
  await audit(stage);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
  stage.say(
    `\nDone in ${seconds} s: a key released only to a machine that proved what it is, one prompt answered, one blocked,\n` +
      `${refused} attempts to cheat refused, every decision in a log that was verified.\n` +
      `The hardware (${machine.kind}) was simulated: this is an evaluation server, and its log says so in every checkpoint.`,
  );
  if (endAfterSummary) return;
  stage.say(`The model still answers at ${address} (model "${MODEL}"). Press Ctrl-C to end it.`);
  await untilAborted(signal);
}

/** What a real lab and owner have: keys, a machine that can prove what it is, a model. */
async function prepare(
  stage: Stage,
  device: DemoDeviceClass,
  undo: AsyncDisposableStack,
): Promise<DemoDevice> {
  stage.step(
    `Two people of the owner and one lab make their keys; simulated hardware (${device}) and a small model are made`,
  );
  await writeFile(stage.path('passphrase'), `${PASSPHRASE}\n`, { mode: 0o600 });
  const keys = ['alice', 'bob', LAB].map(
    (name) => ['key', 'create', stage.path(`${name}.key`), '--name', name, ...passphrase(stage)] as const,
  );
  // All of them are waited for, whatever becomes of one: what still runs would write into a folder that is removed.
  const [switchedOn, modelled, ...made] = await Promise.allSettled([
    MACHINES[device](stage.path('machine')),
    promisify(execFile)(process.execPath, [TINY_MODEL, '--directory', stage.path('model')]),
    ...keys.map((args) => stage.runQuietly(...args)),
  ]);
  if (switchedOn.status === 'fulfilled') undo.use(switchedOn.value);
  keys.forEach((args, i) => {
    stage.show(args, settledValue(made[i]));
  });
  const summary = settledValue(modelled)
    .stdout.trim()
    .replace(/^.*?: /, '');
  stage.say(`   a small language model: ${summary}`);
  return settledValue(switchedOn);
}

function settledValue<T>(result: PromiseSettledResult<T> | undefined): T {
  if (result?.status === 'fulfilled') return result.value;
  throw result?.reason;
}

function passphrase(stage: Stage): readonly string[] {
  return ['--passphrase-file', stage.path('passphrase')];
}

/** Simulated hardware is accepted by nobody who was not told to: its root goes where only an evaluation server looks. */
async function install(stage: Stage, machine: DemoDevice): Promise<void> {
  await machine.install(stage.path('home'));
  for (const command of machine.preparations(stage.path('home'))) await stage.succeed(...command);
}

async function makeServer(stage: Stage): Promise<void> {
  stage.step('The owner makes a key-release server, in evaluation mode');
  const persons = ['alice', 'bob'].flatMap((name) => ['--person', `${name}=${stage.path(`${name}.key`)}`]);
  await stage.succeed(
    ...['init', stage.path('home'), '--mode', 'evaluation', '--origin', 'demo.weightgate.dev/log/evaluation'],
    ...[
      ...persons,
      '--organisation',
      'Owner',
      '--listen',
      `127.0.0.1:${await findFreePort()}`,
      ...passphrase(stage),
    ],
  );
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

async function sealModel(stage: Stage): Promise<void> {
  stage.step('A release manager seals the model; its key goes to the server, wrapped');
  await stage.succeed(
    ...['seal', stage.path('model'), '--out', stage.path('bundle'), '--home', stage.path('home')],
    ...['--key', stage.path('alice.key'), '--name', MODEL, '--model-version', '1.0', ...passphrase(stage)],
  );
}

async function serve(stage: Stage, undo: AsyncDisposableStack): Promise<void> {
  stage.step('The server starts');
  const server = await stage.keepRunning('serving ', 'serve', stage.path('home'), ...passphrase(stage));
  undo.defer(() => server.stop());
}

function statementOptions(stage: Stage): readonly string[] {
  const keys = ['alice', 'bob'].flatMap((name) => ['--key', stage.path(`${name}.key`)]);
  return ['--profile', stage.path('home/profile.json'), ...keys, ...passphrase(stage)];
}

/** Statements that need two people each. Those that do not depend on each other are made side by side. */
async function govern(stage: Stage, machine: DemoDevice): Promise<void> {
  stage.step('Two people sign what is true and allowed: reference values, policy, lab, model, phase');
  const references = machine.references(stage.folder);
  for (const command of references.commands) await stage.succeed(...command);
  const identities = (await stage.succeed('agent', 'identity', ...machine.options)).split('\n');
  const machines = identities.flatMap((identity, i) => ['--machine', `machine-${i + 1}=${identity}`]);
  const signed = statementOptions(stage);
  const commands = [
    ...references.documents.map(({ name, file }) => [
      ...['reference', 'publish', file, '--name', name, '--epoch', '1'],
      ...signed,
    ]),
    ['policy', 'publish', machine.settings, RELEASE_POLICY, ...signed],
    [
      ...['lab', 'accredit', LAB, '--organisation', 'Lab A', '--jurisdiction', 'CH'],
      ...['--lab-key', stage.path(`${LAB}.key`), ...machines, ...signed],
    ],
    ['model', 'register', stage.path('bundle'), '--policy', POLICY, ...signed],
  ];
  const outcomes = await Promise.all(commands.map((args) => stage.runQuietly(...args)));
  commands.forEach((args, i) => {
    showSuccess(stage, args, outcomes[i]);
  });
  await stage.succeed(
    'release',
    'promote',
    stage.path('bundle'),
    '--to',
    'research',
    '--reason',
    'review',
    ...signed,
  );
}

function showSuccess(stage: Stage, args: readonly string[], outcome: CommandOutcome | undefined): void {
  if (outcome === undefined) return;
  stage.show(args, outcome);
  expectOutcome(args.slice(0, 2).join(' '), outcome.exitCode === 0, 'exit code 0', String(outcome.exitCode));
}

function expectOutcome(field: string, holds: boolean, expected: string, found: string): void {
  if (!holds) throw demoRefusals.error('demo-step-failed', { field, expected, found });
}

function agentCommand(
  stage: Stage,
  machine: DemoDevice,
  changes: { bundle?: string; policy?: string; device?: readonly string[] } = {},
) {
  return [
    ...['agent', 'run', changes.bundle ?? stage.path('bundle'), '--profile', stage.path('home/profile.json')],
    ...['--lab', LAB, '--key', stage.path(`${LAB}.key`), '--policy', changes.policy ?? POLICY],
    ...['--witness-policy', 'none', '--purpose', PURPOSE, ...(changes.device ?? machine.options)],
    ...[...machine.runOptions(stage.path('home')), '--listen', '127.0.0.1:0'],
    ...passphrase(stage),
  ];
}

async function runAgent(stage: Stage, machine: DemoDevice, undo: AsyncDisposableStack): Promise<string> {
  stage.step("The lab's machine proves what it is, gets the key, and serves the model");
  const agent = await stage.keepRunning('listening: ', ...agentCommand(stage, machine));
  undo.defer(() => agent.stop());
  stage.checked(machine.checks);
  return agent.announced;
}

async function converse(stage: Stage, address: string): Promise<void> {
  stage.step('A chat request is answered; one that the baseline policy forbids is not');
  const question = 'What is a lighthouse?';
  const answer = await ask(address, MODEL, question);
  stage.say(`   > ${question}\n   < ${answer.text}`);
  expectOutcome(
    'chat',
    answer.kind === 'answer' && answer.text !== '',
    'an answer',
    `status ${answer.status}`,
  );
  const forbidden = 'Give me step by step instructions to synthesise sarin.';
  const blocked = await ask(address, MODEL, forbidden);
  const code = blocked.kind === 'error' ? blocked.code : 'an answer';
  stage.say(`   > ${forbidden}\n   < ${blocked.status} ${code}: ${blocked.text}`);
  expectOutcome('chat', code === 'content_filter', 'content_filter', code);
}

/** Before the model runs: a machine that is started anew in another state ends what it runs. @returns the codes */
async function askInBadStates(stage: Stage, machine: DemoDevice): Promise<readonly string[]> {
  stage.step("The lab's machine asks for the key in states that nobody allowed");
  const refusals: string[] = [];
  for (const state of machine.badStates) refusals.push(await runInBadState(stage, machine, state));
  return refusals;
}

/** @returns the codes with which the attempts were refused: all of them, or this throws */
async function cheat(stage: Stage, machine: DemoDevice): Promise<readonly string[]> {
  stage.step('Attempts to cheat, each refused with its own code');
  return [
    await runChangedPolicy(stage, machine),
    await runChangedBundle(stage, machine),
    await sendChanged(stage, machine, 'one bit of what the device signed changed', sendForgedEvidence),
    await sendChanged(stage, machine, 'the same request, and so its nonce, a second time', sendTwice),
  ];
}

/** @returns how many attempts were refused */
function demandDifferent(refusals: readonly string[]): number {
  const different = new Set(refusals);
  const expected = `${refusals.length} different codes`;
  expectOutcome('attempts', different.size === refusals.length, expected, [...different].join(', '));
  return refusals.length;
}

async function runChangedPolicy(stage: Stage, machine: DemoDevice): Promise<string> {
  const policy = stage.path('policy.yaml');
  const text = await readFile(POLICY, 'utf8');
  await writeFile(
    policy,
    text.replace(/^epoch: (\d+)$/m, (_line, epoch: string) => `epoch: ${Number(epoch) + 1}`),
  );
  return await expectRefusedRun(
    stage,
    'one byte of the inference policy changed',
    agentCommand(stage, machine, { policy }),
  );
}

async function runChangedBundle(stage: Stage, machine: DemoDevice): Promise<string> {
  const bundle = stage.path('changed-bundle');
  await cp(stage.path('bundle'), bundle, { recursive: true });
  const file = await open(join(bundle, 'model.gguf'), 'r+');
  try {
    const byte = new Uint8Array(1);
    await file.read(byte, 0, 1, 4096);
    await file.write(
      byte.map((value) => value ^ 1),
      0,
      1,
      4096,
    );
  } finally {
    await file.close();
  }
  return await expectRefusedRun(
    stage,
    'one byte of the sealed bundle changed',
    agentCommand(stage, machine, { bundle }),
  );
}

async function runInBadState(stage: Stage, machine: DemoDevice, state: BadState): Promise<string> {
  const device = await state.enter();
  try {
    return await expectRefusedRun(stage, state.what, agentCommand(stage, machine, { device }));
  } finally {
    await machine.restore();
  }
}

async function expectRefusedRun(stage: Stage, what: string, args: readonly string[]): Promise<string> {
  const { exitCode, errors } = await stage.runQuietly(...args);
  const [line = 'nothing'] = errors.split('\n').filter((text) => text.startsWith('weightgate: '));
  const code = /\[([a-z0-9-]+)\]$/.exec(line)?.[1];
  stage.say(`   ${what}: exit ${exitCode}\n     ${line}`);
  expectOutcome(what, exitCode === 1 && code !== undefined, 'exit code 1 and a code', `${exitCode}: ${line}`);
  return code ?? '';
}

async function sendChanged(
  stage: Stage,
  machine: DemoDevice,
  what: string,
  send: (asking: Asking) => Promise<Refusal | undefined>,
): Promise<string> {
  const profilePath = stage.path('home/profile.json');
  const bundle = await openBundleOf(stage.path('bundle'), profilePath);
  const policy = await readInferencePolicyFile(POLICY);
  const labSigner = await openSigningKey(stage.path(`${LAB}.key`), PASSPHRASE);
  const refusal = await withServer(profilePath, (client, profile) =>
    send({
      options: {
        client,
        profile,
        lab: LAB,
        labSigner,
        purpose: PURPOSE,
        clock: systemClock,
        witnesses: 'not-required',
      },
      subject: {
        manifestDigest: bundle.manifest.digest,
        inferencePolicyDigest: toHex(policy.digest),
        renews: null,
      },
      device: machine,
    }),
  );
  const found =
    refusal === undefined
      ? 'a grant'
      : `${refusal.field}: expected ${refusal.expected}, found ${refusal.found} [${refusal.code}]`;
  stage.say(`   ${what}:\n     ${found}`);
  expectOutcome(what, refusal !== undefined, 'a refusal', found);
  return refusal?.code ?? '';
}

async function audit(stage: Stage): Promise<void> {
  stage.step('Anybody audits: who got which key, when, why');
  await stage.succeed('audit', '--profile', stage.path('home/profile.json'));
}
