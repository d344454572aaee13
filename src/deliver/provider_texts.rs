//! What providers say where something of ours or of the account is wrong, and what helps: the table of docs/upstreams.md.

/// A text of a provider and what helps.
pub(super) struct ProviderText {
    /// Whose text it is.
    pub(super) provider: &'static str,
    /// The end of the host's name, where the text alone could be anybody's; empty: any host.
    pub(super) host: &'static str,
    /// As the provider sends it, or says that it does. What stands within `«»` is what it is known by, ASCII case ignored.
    pub(super) text: &'static str,
    pub(super) remedy: &'static str,
}

const OFFICE: &str = "Office 365";
const GMAIL: &str = "Gmail";
const SES: &str = "Amazon SES";
const SENDGRID: &str = "SendGrid";
const MAILGUN: &str = "Mailgun";
const POSTMARK: &str = "Postmark";

const SENDER_OF_OFFICE: &str = "set `sender = \"username\"`, or give the account the right Send As for the addresses that the application uses";

/// The first one that fits holds.
pub(super) const TABLE: &[ProviderText] = &[
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "535 5.7.139 Authentication unsuccessful, «SmtpClientAuthentication is disabled for the Mailbox». Visit \
         https://aka.ms/smtp_auth_disabled for more information.",
        remedy: "switch it on for the mailbox (Microsoft 365 admin center: the user, Mail, Manage email apps, Authenticated \
         SMTP), or use `auth = \"oauth2\"` where the organization refuses passwords; tokens need the switch, too",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "535 5.7.139 Authentication unsuccessful, «SmtpClientAuthentication is disabled for the Tenant». Visit \
         https://aka.ms/smtp_auth_disabled for more information.",
        remedy: "switch Authenticated SMTP on for this mailbox, which outranks the organization's switch (Microsoft 365 \
         admin center: the user, Mail, Manage email apps), or for all (Exchange admin center: Settings, Mail flow); \
         then use `auth = \"oauth2\"` if passwords are still refused",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "535 5.7.139 Authentication unsuccessful, user is locked by your organization's «security defaults policy». \
         Contact your administrator.",
        remedy: "the security defaults of Entra ID refuse passwords: use `auth = \"oauth2\"`",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "535 5.7.139 Authentication unsuccessful, «basic authentication is disabled».",
        remedy: "passwords are switched off there: use `auth = \"oauth2\"`",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "550 5.7.30 «Basic authentication is not supported» for Client Submission.",
        remedy: "passwords are switched off there: use `auth = \"oauth2\"`",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "535 5.7.139 Authentication unsuccessful, the request «did not meet the criteria to be authenticated» \
         successfully. Contact your administrator.",
        remedy: "a policy refuses this login (Conditional Access, or Authenticated SMTP is off for the mailbox): allow it \
         there, or use `auth = \"oauth2\"`",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "535 5.7.139 Authentication unsuccessful, «the user credentials were incorrect».",
        remedy: "`username` is the mailbox's whole address; with a second factor its password needs an app password, or use \
         `auth = \"oauth2\"`",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "535 «5.7.3 Authentication unsuccessful» [GVYP280CA0011.SWEP280.PROD.OUTLOOK.COM]",
        remedy: "a password: `username` is the mailbox's whole address, and Authenticated SMTP must be on for it; a token: \
         its scope is https://outlook.office365.com/.default, the application may SMTP.SendAsApp (or SMTP.Send with \
         a refresh token), and its service principal has rights on the mailbox",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "«530 5.7.57» Client not authenticated to send mail.",
        remedy: "it takes no mail without a login: set `auth = \"oauth2\"`, or \"basic\" with `username` and `password`",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "554 5.2.252 «SendAsDenied»; app@example.com not allowed to send as shop@example.com",
        remedy: SENDER_OF_OFFICE,
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "550 5.7.60 SMTP; Client does not have «permissions to send as this sender»",
        remedy: SENDER_OF_OFFICE,
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "«432 4.3.2» Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more \
         information.",
        remedy: "a mailbox may have three connections at a time: set `connection_limit = 3` or less",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "550 «5.1.90» Your message can't be sent because you've reached your daily limit for message recipients",
        remedy: "the mailbox has sent to as many recipients as it may in a day: wait, or send bulk through another upstream",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "550 5.7.64 «TenantAttribution»; Relay Access Denied",
        remedy: "without a login only a connector lets this machine relay: add its public address to one (Exchange admin \
         center: Mail flow, Connectors), or log in",
    },
    ProviderText {
        provider: OFFICE,
        host: "",
        text: "550 «5.7.708» Service unavailable. Access denied, traffic not accepted from this IP",
        remedy: "new or suspicious organizations may not send yet: ask Microsoft's support to lift it",
    },
    ProviderText {
        provider: GMAIL,
        host: "",
        text: "534 5.7.9 «Application-specific password required». For more information, go to \
         https://support.google.com/mail/?p=InvalidSecondFactor",
        remedy: "the account has a second factor: make an app password (https://myaccount.google.com/apppasswords) and give \
         that, or use `auth = \"oauth2\"`",
    },
    ProviderText {
        provider: GMAIL,
        host: "",
        text: "535 5.7.8 «Username and Password not accepted». For more information, go to \
         https://support.google.com/mail/?p=BadCredentials",
        remedy: "`username` is the whole address; the account's own password is not taken: make an app password \
         (https://myaccount.google.com/apppasswords), or use `auth = \"oauth2\"` with the scope \
         https://mail.google.com/",
    },
    ProviderText {
        provider: GMAIL,
        host: "",
        text: "534 5.7.9 Please log in with your «web browser and then try again». Learn more at \
         https://support.google.com/mail/?p=WebLoginRequired",
        remedy: "Google suspects this login: sign in once with a browser and confirm it, then give an app password, or use \
         `auth = \"oauth2\"`",
    },
    ProviderText {
        provider: GMAIL,
        host: "",
        text: "550 5.4.5 «Daily user sending limit exceeded». For more information on Gmail sending limits go to \
         https://support.google.com/a/answer/166852",
        remedy: "the account has sent what it may in a day: wait, or send bulk through another upstream",
    },
    ProviderText {
        provider: GMAIL,
        host: "",
        text: "550 5.7.1 «Invalid credentials for relay» [192.0.2.1]. The IP address you've registered in your Workspace \
         SMTP Relay service doesn't match the domain of the account this email is being sent from.",
        remedy: "register this machine's public address at the SMTP relay service (Google Admin console: Gmail, Routing), \
         and send from one of the organization's domains, see `sender`",
    },
    ProviderText {
        provider: SES,
        host: "",
        text: "«535 Authentication Credentials Invalid»",
        remedy: "SES has SMTP credentials of their own, which are no access keys and hold in one region alone: make them in \
         the SES console under SMTP settings, for the region of `host`",
    },
    ProviderText {
        provider: SES,
        host: "",
        text: "554 Message rejected: «Email address is not verified». The following identities failed the check in region \
         EU-WEST-1: shop@example.com",
        remedy: "verify the address or its domain in the SES console, in the region of `host`; in the sandbox recipients \
         must be verified, too: ask for production access",
    },
    ProviderText {
        provider: SES,
        host: "",
        text: "554 Access denied: User `arn:aws:iam::123456789012:user/ses' is «not authorized to perform» \
         `«ses:SendRawEmail»' on resource `arn:aws:ses:eu-west-2:123456789012:identity/example.com'",
        remedy: "allow the user of these credentials ses:SendRawEmail for that identity (IAM, the user's policy)",
    },
    ProviderText {
        provider: SES,
        host: "",
        text: "454 Throttling failure: «Maximum sending rate exceeded».",
        remedy: "set `rate_limit` to the account's rate, such as \"14/1s\" (SES console: Account dashboard)",
    },
    ProviderText {
        provider: SES,
        host: "",
        text: "454 Throttling failure: «Daily message quota exceeded».",
        remedy: "the account's quota of a day is used up: ask for a higher one, or send bulk through another upstream",
    },
    ProviderText {
        provider: SES,
        host: "",
        text: "421 «Too many concurrent SMTP connections»",
        remedy: "lower `connection_limit`",
    },
    ProviderText {
        provider: SENDGRID,
        host: "",
        text: "535 Authentication failed: «Bad username / password»",
        remedy: "`username` is the word apikey itself, `password` an API key that may Mail Send",
    },
    ProviderText {
        provider: SENDGRID,
        host: "",
        text: "535 Authentication failed: The provided «authorization grant is invalid, expired», or revoked",
        remedy: "the API key is gone: make another one that may Mail Send and give it as `password`, with the username apikey",
    },
    ProviderText {
        provider: SENDGRID,
        host: "",
        text: "451 Authentication failed: «Maximum credits exceeded»",
        remedy: "the plan's number of messages is used up: upgrade it or wait; an upstream of lower `priority` takes the \
         mail meanwhile",
    },
    ProviderText {
        provider: SENDGRID,
        host: "",
        text: "550 The from address «does not match a verified Sender Identity». Mail cannot be sent until this error is \
         resolved.",
        remedy: "verify the domain or the address there (Settings, Sender Authentication), or set `sender` to one that is",
    },
    ProviderText {
        provider: SENDGRID,
        host: "",
        text: "403 You are «not authorized to send from that email address»",
        remedy: "verify the domain or the address there (Settings, Sender Authentication), or set `sender` to one that is",
    },
    ProviderText {
        provider: SENDGRID,
        host: "",
        text: "550 «Unauthenticated senders not allowed»",
        remedy: "it takes no mail without a login: `auth = \"basic\"`, `username = \"apikey\"`, the API key as `password`",
    },
    ProviderText {
        provider: MAILGUN,
        host: "",
        text: "554 «Sandbox subdomains are for test purposes only». Please add your own domain or add the address to \
         authorized recipients in Account Settings.",
        remedy: "a sandbox sends to its authorized recipients alone: add them, or add a domain of your own and its SMTP user",
    },
    ProviderText {
        provider: MAILGUN,
        host: "",
        text: "421 «Domain »mg.example.com« is not allowed to send»: Account disabled",
        remedy: "verify the domain's DNS records there, and look whether the account is disabled",
    },
    ProviderText {
        provider: MAILGUN,
        host: "mailgun.org",
        text: "550 5.7.1 «Relaying denied»",
        remedy: "it relays for its users alone: `auth = \"basic\"` with the SMTP user of the sending domain",
    },
    ProviderText {
        provider: MAILGUN,
        host: "mailgun.org",
        text: "«535» Authentication failed",
        remedy: "`username` is an SMTP user of the domain, such as postmaster@mg.example.com, with the password made for it \
         and no API key; domains in the EU have smtp.eu.mailgun.org as `host`",
    },
    ProviderText {
        provider: POSTMARK,
        host: "postmarkapp.com",
        text: "«535» 5.7.8 Error: authentication failed",
        remedy: "`username` and `password` are both the Server API token, not the account's",
    },
    ProviderText {
        provider: POSTMARK,
        host: "",
        text: "The 'From' address you supplied (shop@example.com) is «not a Sender Signature on your account».",
        remedy: "add and confirm the address or its domain there (Sender Signatures), or set `sender` to one that is",
    },
    ProviderText {
        provider: POSTMARK,
        host: "",
        text: "While your «account is pending approval», all recipient addresses must share the same domain as the 'From' \
         address.",
        remedy: "ask there for the account's approval; until then it sends to addresses of the sender's own domain alone",
    },
];
