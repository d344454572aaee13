# Sends the message on standard input with Perl's Net::SMTP.
# Usage: perl send.pl HOST PORT FROM TO...; an empty FROM is the null reverse-path.
use strict;
use warnings;
use Net::SMTP;

my ($host, $port, $from, @to) = @ARGV;
binmode STDIN;
my $message = do { local $/; <STDIN> };
my $smtp = Net::SMTP->new($host, Port => $port, Hello => 'client.test', Timeout => 60) or die "no session: $@";
my %options;
$options{Size} = length $message if $smtp->supports('SIZE');
$options{Bits} = '8' if $message =~ /[\x80-\xff]/;
$smtp->mail($from, %options) or die 'MAIL: ', $smtp->message;
$smtp->recipient(@to) or die 'RCPT: ', $smtp->message;
# data() takes care of dots and line ends.
$smtp->data($message) or die 'DATA: ', $smtp->message;
$smtp->quit;
