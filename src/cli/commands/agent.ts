import { createHash } from 'node:crypto';

import { InvalidArgumentError, Option, type Command } from 'commander';

import { toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { leaseOver, startAgent, type AgentOptions, type AgentStep } from '../../agent/agent.ts';
import { ATTESTED_CLASSES, machineName, openMachine, type AttestedClass } from '../../agent/machine.ts';
import { logTrustOf } from '../../agent/key-release.ts';
import { digestOfProgram, listProgram } from '../../agent/program-digest.ts';
import type { TpmAttester } from '../../agent/tpm/attester.ts';
import { ORDINARY_AGENT_LOG_FOLDER } from '../../agent/tpm/measure.ts';
import { systemClock } from '../../platform/clock.ts';
import { writeFileDurably } from '../../platform/files.ts';
import { createLogger } from '../../platform/logging.ts';
import {
  identifierArgument,
  type ListenAddress,
  parsePositiveInteger,
  purposeArgument,
} from '../arguments.ts';
import { BUNDLE_ARGUMENT, openBundleOf, tokenOption } from '../bundle.ts';
import {
  addGpuAddresses,
  addGpuJudgement,
  gpuAddresses,
  gpuJudgement,
  type GpuAddressOptions,
  type GpuJudgementOptions,
} from '../gpu-options.ts';
import { registerAgentEnrol } from '../agent-enrol.ts';
import { readInferencePolicyFile } from '../inference-policy.ts';
import { untilAborted, withInterruption } from '../interruption.ts';
import {
  openSigningKeys,
  passphraseOption,
  print,
  profileOption,
  listenOption,
  tpmEventLogOption,
  tpmImaListOption,
  tpmOption,
  remark,
  withServer,
} from '../options.ts';
import { readSecretLine } from '../passphrase.ts';
import { progressLine } from '../progress.ts';
import { readWitnessing, witnessPolicyOption } from '../witness-policy.ts';

const keyAlgorithmOption = (): Option =>
  new Option('--attestation-key <kind>', 'kind of the attestation key')
    .choices(['ecc-p256', 'rsa-2048'])
    .default('ecc-p256');

const deviceOption = (): Option =>
  new Option(
    '--device <class>',
    `what proves what this machine is: ${ATTESTED_CLASSES.join(' or ')}; several, if given several times`,
  )
    .argParser(collectDevices)
    .default(undefined, 'what is found');

function collectDevices(text: string, earlier: readonly AttestedClass[] = []): readonly AttestedClass[] {
  const known = ATTESTED_CLASSES.find((name) => name === text);
  if (known === undefined) throw new InvalidArgumentError(`It must be ${ATTESTED_CLASSES.join(' or ')}.`);
  return [...earlier, known];
}

const sevSnpOption = (): Option =>
  new Option(
    '--sev-snp <address>',
    'the SEV-SNP guest: configfs:PATH, device:PATH, simulated:FOLDER',
  ).default('auto');

interface MachineOptions extends GpuAddressOptions {
  readonly device?: readonly AttestedClass[];
  readonly tpm: string;
  readonly tpmEventLog: string;
  readonly tpmImaList: string;
  readonly attestationKey: 'ecc-p256' | 'rsa-2048';
  readonly sevSnp: string;
}

interface RunOptions extends MachineOptions, GpuJudgementOptions {
  readonly profile: string;
  readonly tokenFile?: string;
  readonly lab: string;
  readonly key: string;
  readonly passphraseFile?: string;
  readonly policy: string;
  readonly witnessPolicy: string;
  readonly purpose: string;
  readonly listen: ListenAddress;
  readonly modelFile?: string;
  readonly apiKeyFile?: string;
  readonly context: number;
  readonly threads?: number;
  readonly gpu?: true;
  readonly attestationResult?: string;
  readonly agentLog: string;
}

/** Prints what the owner needs to put this machine into an accreditation. */
async function printIdentity(options: MachineOptions): Promise<void> {
  const machine = await openMachine(machineOf(options));
  try {
    const { attesters, tpm, remarks } = machine;
    for (const attester of attesters) if (attester !== tpm) print(machineName(attester));
    if (tpm !== undefined) printTpm(tpm);
    for (const text of remarks) remark(text);
  } finally {
    await machine.close();
  }
}

function printTpm({ endorsementCertificate, attestationKeyName }: TpmAttester): void {
  const { subjectPublicKeyInfo } = readCertificate(endorsementCertificate, 'endorsementCertificate');
  print(createHash('sha256').update(subjectPublicKeyInfo).digest('hex'));
  remark(`attestation key ${toHex(attestationKeyName)}`);
}

function machineOf(options: MachineOptions): AgentOptions['machine'] {
  const { device, tpm, tpmEventLog, tpmImaList, attestationKey, sevSnp } = options;
  return {
    tpm: {
      address: tpm,
      keyAlgorithm: attestationKey,
      logs: { eventLog: tpmEventLog, imaList: tpmImaList },
    },
    sevSnp: { address: sevSnp },
    nvidia: gpuAddresses(options),
    ...(device === undefined ? {} : { devices: device }),
  };
}

/** What the steps say to people; the others are for programs. */
type ToldStep = Exclude<AgentStep, { readonly step: 'unsealing' | 'attested' }>;

const CLOCK_NAMES = { tpm: 'the clock of the TPM', kernel: 'those of the kernel' } as const;

function describeStep(step: ToldStep): string {
  switch (step.step) {
    case 'remark':
      return step.text;
    case 'enrolled':
      return `enrolled: the TPM proved that it holds attestation key ${step.attestationKeyName.slice(0, 20)}…`;
    case 'granted':
      return `granted: lease of ${step.leaseSeconds} s; the decision is entry ${step.logIndex} of the log, proof verified`;
    case 'unsealed': {
      const { locked, dontDump } = step.protection;
      const kept = `${locked ? 'cannot be swapped' : 'not locked (no swap is on)'}, ${dontDump ? 'left out of' : 'part of'} core dumps`;
      return `unsealed: ${step.bytes} bytes in memory, ${kept}`;
    }
    case 'engine':
      return `engine: process ${step.description.processId}, without network, context ${step.description.contextTokens} tokens`;
    case 'lease-clock':
      return `lease time: counted by ${step.sources.map((source) => CLOCK_NAMES[source]).join(' and ')}`;
    case 'listening':
      return `listening: ${step.address}/v1`;
    case 'renewed':
      return `renewed: lease of ${step.leaseSeconds} s`;
    case 'renewal-failed':
      return `renewal failed, will be tried again: ${step.refusal.code} (${step.refusal.found})`;
  }
}

/** A result that cannot be written keeps no model from running: it is for others to read. */
function keepResult(path: string, { attestationResult }: { readonly attestationResult: string }): void {
  writeFileDurably(path, toUtf8(`${attestationResult}\n`), 0o644).catch((error: unknown) => {
    remark(`the attestation result was not written: ${isRefusal(error) ? error.message : String(error)}`);
  });
}

async function run(location: string, options: RunOptions): Promise<void> {
  const bundle = await openBundleOf(location, options.profile, options);
  const policy = await readInferencePolicyFile(options.policy);
  const [labSigner] = await openSigningKeys([options.key], options.passphraseFile);
  const apiKey =
    options.apiKeyFile === undefined
      ? undefined
      : await readSecretLine(options.apiKeyFile, 'a key for callers');
  if (labSigner === undefined) throw new Error('one key was opened and none returned');
  const gpus = await gpuJudgement(options);
  const progress = progressLine('unsealing');
  const onStep = (step: AgentStep): void => {
    if (step.step === 'unsealing') {
      progress.update(step);
      return;
    }
    if (step.step === 'attested') {
      if (options.attestationResult !== undefined) keepResult(options.attestationResult, step);
      return;
    }
    progress.finish();
    remark(describeStep(step));
  };
  await withServer(options.profile, async (client, profile) => {
    await withInterruption(async (signal) => {
      const agent = await startAgent({
        release: {
          client,
          profile,
          lab: options.lab,
          labSigner,
          purpose: options.purpose,
          clock: systemClock,
          witnesses: await readWitnessing(options.witnessPolicy, logTrustOf(profile).keys),
        },
        bundle,
        policy,
        machine: machineOf(options),
        agentLogFolder: options.agentLog,
        engine: { contextTokens: options.context, ...pick(options) },
        listen: options.listen,
        logger: createLogger(),
        signal,
        onStep,
        ...(options.modelFile === undefined ? {} : { modelFile: options.modelFile }),
        ...(apiKey === undefined ? {} : { apiKey }),
        ...(gpus === undefined ? {} : { gpus }),
      });
      const reason = await Promise.race([agent.ended, untilAborted(signal)]);
      await agent.close();
      if (reason !== undefined) throw leaseOver(reason);
    });
  });
}

function pick({ threads, gpu }: RunOptions): { threads?: number; gpu?: boolean } {
  return { ...(threads === undefined ? {} : { threads }), ...(gpu === undefined ? {} : { gpu }) };
}

/** What a reference value names this program by, or the list of files from which that is made. */
async function printProgram(options: { readonly list?: true }): Promise<void> {
  if (options.list === true) for (const line of await listProgram()) print(line);
  else print(toHex(await digestOfProgram()));
}

/** `weightgate agent identity|program|run`: what a lab does on the machine that runs the model. */
export function registerAgent(program: Command): void {
  const agent = program.command('agent').description('the machine that runs a model');

  const identity = agent
    .command('identity')
    .description('print what names this machine in an accreditation')
    .addOption(deviceOption())
    .addOption(tpmOption())
    .addOption(tpmEventLogOption())
    .addOption(tpmImaListOption())
    .addOption(keyAlgorithmOption())
    .addOption(sevSnpOption());
  addGpuAddresses(identity).action(printIdentity);

  registerAgentEnrol(agent);

  agent
    .command('program')
    .description('print the digest by which this program measures itself')
    .option('--list', 'print the files and their digests instead, as sha256sum does')
    .action(printProgram);

  const running = agent
    .command('run')
    .argument('<bundle>', BUNDLE_ARGUMENT)
    .description('obtain the key of a sealed bundle and serve the model, behind its policy')
    .addOption(profileOption())
    .addOption(tokenOption())
    .requiredOption('--lab <lab>', 'the lab, as it was accredited', identifierArgument)
    .requiredOption('--key <file>', "the lab's signing key")
    .addOption(passphraseOption())
    .requiredOption('--policy <file>', 'the inference policy that the model was registered with')
    .addOption(witnessPolicyOption())
    .requiredOption(
      '--purpose <text>',
      'what the model is used for; the release policy judges it',
      purposeArgument,
    )
    .addOption(deviceOption())
    .addOption(tpmOption())
    .addOption(tpmEventLogOption())
    .addOption(tpmImaListOption())
    .addOption(keyAlgorithmOption())
    .addOption(sevSnpOption())
    .addOption(listenOption('where the model answers', '127.0.0.1:8080'))
    .option('--api-key-file <file>', 'ask callers for the key in the first line of this file')
    .option('--model-file <path>', 'the GGUF file of the bundle; needed when there are several')
    .option('--context <tokens>', 'context of each request', parsePositiveInteger, 2048)
    .option('--threads <number>', 'threads of the engine', parsePositiveInteger)
    .option('--gpu', 'let the engine use the GPUs it finds')
    .option('--agent-log <folder>', 'keep here what the agent measured of itself', ORDINARY_AGENT_LOG_FOLDER)
    .option('--attestation-result <file>', 'keep here what the server last signed about this machine');
  addGpuJudgement(addGpuAddresses(running)).action(run);
}
