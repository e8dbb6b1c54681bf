/** How governance says no. Hints name who can act; the field `expected` names the rule of docs/spec/governance.md. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

/** The document cannot be what it claims to be. */
export const governanceFormRefusals = defineRefusals('malformed', {
  'governance-entry-too-large': {
    means: 'A log entry is larger than the log takes.',
    hint: 'Shorten the statement: an entry holds at most 65,535 bytes, base64 of the signed payload included.',
  },
  'governance-predicate-unknown': {
    means: 'A statement is of a kind that this release does not know.',
    hint: 'Check the predicate type; a statement of a newer release needs a newer server and auditor.',
  },
  'governance-subject-mismatch': {
    means: 'The subject of a statement is not what its predicate is about.',
    hint: 'Make the statement with the command of its kind; it fills in the subject.',
  },
});

/** Authentic, and against a rule. */
export const governanceRefusals = defineRefusals('unacceptable', {
  'governance-trust-root': {
    means: 'A trust root breaks a rule that no root may break.',
    hint: 'Correct the named member before the server is made; a root cannot be changed afterwards.',
  },
  'governance-genesis': {
    means: 'The first entry of a log is missing, repeated or contradicts itself.',
    hint: 'This is the log of another server, or it was tampered with.',
  },
  'governance-entry-order': {
    means: 'A log entry does not follow the one before it.',
    hint: 'Check the clock of the server: the logged time never goes back.',
  },
  'governance-role-missing': {
    means: 'The person who signed does not have the role that this kind of statement needs.',
    hint: 'Ask a person with the named role to sign.',
  },
  'governance-statement-replayed': {
    means: 'This person has signed this very statement before.',
    hint: 'Nothing is left to do for this person; another one has to sign, or a new statement has to be made.',
  },
  'governance-statement-settled': {
    means: 'This very statement has taken effect already.',
    hint: 'Nothing is left to do. To say it again, make a new statement.',
  },
  'governance-statement-lapsed': {
    means: 'The statement did not find its quorum in time.',
    hint: 'Make a new statement and have it signed by enough persons within the stated time.',
  },
  'governance-model-unknown': {
    means: 'A statement is about a model version that is not registered.',
    hint: 'Register the model version first, or correct the manifest digest.',
  },
  'governance-model-registered': {
    means: 'This model version is registered already, and a registration never changes.',
    hint: 'Give the new bundle a new version.',
  },
  'governance-edge-missing': {
    means: 'The trust root has no such step between phases.',
    hint: 'Promote one phase at a time, along the edges of the trust root.',
  },
  'governance-phase-mismatch': {
    means: 'The model version is not in the phase from which it would be promoted.',
    hint: 'Look up its phase and make a new statement.',
  },
  'governance-review-open': {
    means: 'The review of the model version has not lasted long enough.',
    hint: 'Wait until the named time and have the last person sign then. Only logged times count.',
  },
  'governance-reference-validity': {
    means: 'Reference values would have ended before they count.',
    hint: 'Make a new statement with a later end.',
  },
  'governance-held': {
    means: 'A hold is in force.',
    hint: 'A quorum has to lift the hold with a resume statement that names it.',
  },
  'governance-hold-unknown': {
    means: 'A statement would lift a hold that is not in force.',
    hint: 'List the holds in force and name those.',
  },
  'governance-epoch-stale': {
    means: 'A policy or set of reference values is not newer than the one in force.',
    hint: 'Raise the epoch above the one in force and sign again.',
  },
  'governance-key-taken': {
    means: 'A public key already stands for somebody else.',
    hint: 'Make a key of its own for each person and each lab.',
  },
  'governance-accreditation': {
    means: 'The lab is not accredited at this time, or not for this machine.',
    hint: 'Have the accreditation of the lab signed, renewed or extended by this machine.',
  },
  'governance-enrolment-conflict': {
    means: 'The attestation key is enrolled for another lab or another endorsement key.',
    hint: 'Make a new attestation key on this machine and enrol that.',
  },
  'governance-simulated': {
    means: 'A production log names simulated hardware.',
    hint: 'Simulated hardware works with evaluation servers only.',
  },
  'governance-custody': {
    means: 'An entry about the custody of wrapping keys does not follow from those before it.',
    hint: 'Alarm: the key store of the server is not the one that its log speaks of, or the server was altered.',
  },
  'governance-heartbeat': {
    means: 'A heartbeat does not follow from the log, or not from the heartbeat before.',
    hint: 'Alarm: entries are missing, or the server counts something else than what it logs.',
  },
  'governance-decision-illegal': {
    means: 'A logged grant breaks a floor that no policy can loosen.',
    hint: 'Alarm: the server that signed this log granted what it must not grant.',
  },
});
