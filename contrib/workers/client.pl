#!/usr/bin/perl
# A client of swarmshd in another language, written from swarmsh-protocol(7) alone (Debian: libcbor-xs-perl).
# It submits an item, waits for it, reports progress, completes it, and prints how a second completion is refused.
use strict;
use warnings;
use CBOR::XS;
use IO::Socket::UNIX;
use Time::HiRes qw(sleep time);

my $cbor = CBOR::XS->new->text_strings->text_keys;    # all that is sent here is text or a number
my $agent = "perl.$$";
my ($link, $number, $minted) = (undef, 0, 0);

# The socket: what the environment says, or the first of the documented places that is one.
sub find {
    return $ENV{SWARMSH_SOCKET} if $ENV{SWARMSH_SOCKET};
    my $private = "/tmp/swarmsh-$>";
    my @places = map { "$_/swarmsh/swarmsh.sock" } grep { $_ } $ENV{XDG_RUNTIME_DIR}, "/run/user/$>", "/run";
    my @about = lstat $private;
    push @places, "$private/swarmsh.sock" if @about && ($about[2] & 07777) == 0700 && $about[4] == $>;
    return (grep { -S } @places)[0] // $places[0];
}

# Exactly so many bytes, or nothing when the connection has ended.
sub take {
    my ($wanted) = @_;
    my $data = "";
    while (length $data < $wanted) {
        return unless sysread $link, $data, $wanted - length $data, length $data;
    }
    return $data;
}

# One request and its reply [code, body]; undef when the connection broke.
sub once {
    my ($verb, $arguments) = @_;
    $link //= IO::Socket::UNIX->new(Peer => find()) or return;
    my $body = $cbor->encode([++$number, $verb, $arguments]);
    my $frame = pack("N", length $body) . $body;
    while (length $frame) {
        my $done = syswrite $link, $frame or return;
        substr($frame, 0, $done) = "";
    }
    while (defined(my $length = take(4))) {
        my $reply = $cbor->decode(take(unpack "N", $length) // return);
        return [@$reply[1, 2]] if $reply->[0] == $number || $reply->[0] == 0;
    }
    return;
}

# A change under a key of its own, sent again until it has an answer: a restart of the daemon is a pause.
sub ask {
    my ($verb, %arguments) = @_;
    $arguments{key} //= "auto:$agent." . int(time * 1000) . "." . ++$minted;
    for my $until (time + 30 + ($arguments{wait} // 0) / 1000) {
        while (time < $until) {
            my $reply = once($verb, \%arguments);
            return $reply->[1] if $reply && !$reply->[0];
            die { code => $reply->[0], %{$reply->[1]} } if $reply && $reply->[0] !~ /^(busy|draining)$/;
            undef $link;
            sleep 0.1;
        }
    }
    die { code => "outcome_unknown", message => "no answer; key $arguments{key}", retryable => 1 };
}

$SIG{PIPE} = "IGNORE";
my $done = eval {
    my $id = ask("submit", type => "greet", description => "say hello", agent => $agent)->{id};
    print "submitted $id\n";
    my ($item) = @{ask("claim", agent => $agent, type => ["greet"], wait => 10_000)->{items}};
    print "claimed $item->{id}: $item->{description}\n";
    my %held = (id => 0 + $item->{id}, agent => $agent, token => $item->{token});
    ask("progress", %held, percent => 50, message => "half way");
    print "completed: " . ask("complete", %held, note => "hello")->{state} . "\n";
    ask("fail", %held, reason => "once more");
    1;
};
if (!$done) {
    die $@ unless ref $@;
    print "refused: $@->{code}: $@->{message}\n";
    exit($@->{code} eq "bad_state" || $@->{code} eq "lease_lost" ? 0 : 1);
}
