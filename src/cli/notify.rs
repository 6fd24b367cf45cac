//! `journeyd notify test RECEIVER`: one harmless message, now, and what became of it.

use crate::cli::{Exit, NotifyTestArgs, open_config, own_fault, print, say, sender, tell};
use crate::clock::now;
use crate::entropy;
use crate::ids::nearest;
use crate::notify::backlog::{Sending, describe};
use crate::notify::message::Message;
use crate::notify::retry::{End, Trouble, Verdict, verdict};
use crate::runner::Runner;

pub async fn test(args: NotifyTestArgs) -> Exit {
    let (config, findings) = match open_config(&args.config) {
        Ok(opened) => opened,
        Err(exit) => return exit,
    };
    crate::secret::install_for_sinks(config.runner.redactor.clone());
    let known = &config.notify.receivers;
    let Some((id, receiver)) = known.iter().find(|(id, _)| id.as_str() == args.receiver) else {
        tell(&findings);
        if config.notify.unusable.contains(&args.receiver) {
            say(&format!("error: the receiver `{}` cannot be used; what it lacks stands above", args.receiver));
            return Exit::Usage;
        }
        let names: Vec<&str> = known.keys().map(|id| id.as_str()).collect();
        let hint = match nearest(&args.receiver, names.iter().copied()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if names.is_empty() => "; the configuration has none that can be used".to_owned(),
            None => format!("; there are: {}", names.join(", ")),
        };
        say(&format!("error: there is no receiver `{}`{hint}", args.receiver));
        return Exit::Usage;
    };
    let runner = Runner::new().map_err(|error| error.to_string());
    let sender = match runner.and_then(|runner| sender(&runner)) {
        Ok(sender) => sender,
        Err(error) => return own_fault(&error),
    };
    let Some(message) = Message::test(&config.runner.location, now()) else {
        return own_fault("the test message could not be made");
    };
    let sending = Sending { id: format!("msg_{}", entropy::uuid()), receiver: id.clone(), message };
    let end = sender.send(receiver, &sending).await;
    let told = describe(&end);
    let text = match verdict(receiver.dialect, &end, now()) {
        Verdict::Delivered => {
            return match print(&format!("delivered to {id}: {}\n", crate::secret::redact_for_sinks(&told))) {
                Ok(()) => Exit::Fine,
                Err(error) => own_fault(&error.to_string()),
            };
        }
        Verdict::Retry { trouble, .. } => format!("{told}\nThe daemon would try again. {}", advice(trouble, &end)),
        Verdict::Park { trouble } => format!("{told}\nThe daemon would not try again. {}", advice(trouble, &end)),
    };
    say(&format!("error: {id} did not take it: {text}"));
    Exit::Failed
}

fn advice(trouble: Trouble, end: &End) -> &'static str {
    match (trouble, end) {
        (_, End::Answer { status: 300..400, .. }) => {
            "A redirect is not followed: the message would go to whoever it names. Put the final URL into `url`."
        }
        (_, End::Answer { status: 404 | 410, .. }) => "The URL is wrong, or the webhook was deleted there.",
        (Trouble::Auth, _) => "The URL's token was revoked, or the webhook may not write there.",
        (Trouble::ClientError, _) => "The receiver does not like the message or the URL; is `type` right?",
        (Trouble::RateLimited, _) => "The receiver asks for a pause.",
        (Trouble::ServerError, _) => "The receiver itself has trouble.",
        (Trouble::Timeout, _) => "It may have arrived all the same. Is a firewall in between?",
        (Trouble::Network, _) => "Check name, port and firewall from this machine.",
        (Trouble::Expired | Trouble::Other, _) => "",
    }
}
